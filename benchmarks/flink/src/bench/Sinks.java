package bench;

import bench.Events.Bid;
import java.io.IOException;
import java.nio.file.Path;
import org.apache.flink.api.common.serialization.BulkWriter;
import org.apache.flink.api.connector.sink2.Sink;
import org.apache.flink.api.connector.sink2.SinkWriter;
import org.apache.flink.api.connector.sink2.WriterInitContext;
import org.apache.flink.connector.file.sink.FileSink;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonGenerator;
import org.apache.flink.streaming.api.functions.sink.filesystem.bucketassigners.BasePathBucketAssigner;

/** Where the outputs go: nowhere, but counted, or into files of NDJSON. */
final class Sinks {
    private Sinks() {}

    /** Counts outputs and drops them; with {@code check} it adds up their hashes, too. */
    static final class Count<T> implements Sink<T> {
        private static final long serialVersionUID = 1;

        private final boolean check;

        Count(boolean check) {
            this.check = check;
        }

        @Override
        public SinkWriter<T> createWriter(WriterInitContext context) {
            return new CountWriter<>(check);
        }
    }

    private static final class CountWriter<T> implements SinkWriter<T> {
        private final boolean check;
        private long outputs;
        private long sum;

        CountWriter(boolean check) {
            this.check = check;
        }

        @Override
        public void write(T output, Context context) {
            outputs++;
            if (check) {
                sum += Check.hash(output);
            }
        }

        @Override
        public void flush(boolean endOfInput) {
            if (endOfInput) {
                Measurements.recordsEnd(outputs, sum);
            }
        }

        @Override
        public void close() {}
    }

    /** Files that appear with each checkpoint, complete, and never twice: bulk files are rolled at checkpoints only. */
    static FileSink<Bid> ndjson(Path folder) {
        org.apache.flink.core.fs.Path path = new org.apache.flink.core.fs.Path(folder.toUri());
        BulkWriter.Factory<Bid> writers = file -> new NdjsonWriter(Json.writer(file));
        return FileSink.forBulkFormat(path, writers).withBucketAssigner(new BasePathBucketAssigner<>()).build();
    }

    /** One file. Jackson gathers bytes, so that the file is not written for each bid. */
    private record NdjsonWriter(JsonGenerator json) implements BulkWriter<Bid> {
        @Override
        public void addElement(Bid bid) throws IOException {
            Json.write(bid, json);
        }

        @Override
        public void flush() throws IOException {
            json.flush();
        }

        @Override
        public void finish() throws IOException {
            json.close();
        }
    }
}
