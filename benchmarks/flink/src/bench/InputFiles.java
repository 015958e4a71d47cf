package bench;

import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonGenerator;

/**
 * Writes the Nexmark stream as NDJSON files, one for each split, which any engine may read: {@code InputFiles DIR
 * EVENTS FILES}. It runs in a process of its own, so that it neither warms nor fills the one that is measured.
 */
public final class InputFiles {
    private InputFiles() {}

    public static void main(String[] arguments) throws IOException {
        Path folder = Files.createDirectories(Path.of(arguments[0]));
        long events = Long.parseLong(arguments[1]);
        int files = Integer.parseInt(arguments[2]);
        for (int index = 0; index < files; index++) {
            try (OutputStream file = Files.newOutputStream(folder.resolve("part-" + index + ".json"));
                    OutputStream buffered = new BufferedOutputStream(file, 1 << 18)) {
                write(buffered, events, index, files);
            }
        }
    }

    private static void write(OutputStream out, long events, int index, int files) throws IOException {
        Generator generator = new Generator(Generator.SEED);
        JsonGenerator json = Json.writer(out);
        long n = Generator.number(0, index, files);
        for (long position = 0; n < events; n = Generator.number(++position, index, files)) {
            Json.write(generator.event(n), json);
        }
        json.close();
    }
}
