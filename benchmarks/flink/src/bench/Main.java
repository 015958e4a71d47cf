package bench;

import com.sun.management.OperatingSystemMXBean;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Locale;
import java.util.stream.Stream;
import org.apache.flink.api.common.JobExecutionResult;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.CoreOptions;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.configuration.RestOptions;
import org.apache.flink.configuration.RestartStrategyOptions;
import org.apache.flink.configuration.StateBackendOptions;
import org.apache.flink.core.execution.CheckpointingMode;
import org.apache.flink.runtime.checkpoint.CheckpointStatsSnapshot;
import org.apache.flink.runtime.jobgraph.JobGraph;
import org.apache.flink.runtime.minicluster.MiniCluster;
import org.apache.flink.runtime.minicluster.MiniClusterConfiguration;
import org.apache.flink.runtime.util.stats.StatsSummarySnapshot;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/**
 * Runs one job in a cluster within this JVM, and prints one line of JSON about it: the settings, and what is measured
 * outside of the job itself. Called by run.sh, which checks the arguments: {@code RUN_DIR WORKLOAD PARALLELISM EVENTS
 * CHECK OBJECT_REUSE SOURCE_DIR}.
 */
public final class Main {
    private final Path run;
    private final String workload;
    private final int parallelism;
    private final long events;
    private final boolean check;
    private final boolean objectReuse;
    /** The folder of input files; null for the workloads that generate their records. */
    private final Path input;

    private final OperatingSystemMXBean process =
            (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();

    private Main(String[] arguments) {
        run = Path.of(arguments[0]);
        workload = arguments[1];
        parallelism = Integer.parseInt(arguments[2]);
        events = Long.parseLong(arguments[3]);
        check = Boolean.parseBoolean(arguments[4]);
        objectReuse = Boolean.parseBoolean(arguments[5]);
        input = arguments[6].isEmpty() ? null : Path.of(arguments[6]);
    }

    public static void main(String[] arguments) {
        int status = 1;
        try {
            System.out.println(new Main(arguments).measure());
            status = 0;
        } catch (Exception failure) {
            failure.printStackTrace();
        }
        System.exit(status); // also when Flink has left threads behind
    }

    /** Runs the job; answers the line of JSON. */
    private String measure() throws Exception {
        Configuration settings = settings();
        MiniClusterConfiguration.Builder builder = new MiniClusterConfiguration.Builder()
                .setConfiguration(settings)
                .setNumTaskManagers(1)
                .setNumSlotsPerTaskManager(parallelism);
        try (MiniCluster cluster = new MiniCluster(builder.build())) {
            cluster.start();
            JobGraph job = job(settings);
            long cpuBefore = process.getProcessCpuTime();
            JobExecutionResult result = cluster.executeJobBlocking(job); // throws when the job fails
            double cpuSeconds = (process.getProcessCpuTime() - cpuBefore) / 1e9;
            long peakMemoryBytes = peakMemoryBytes();
            CheckpointStatsSnapshot checkpoints =
                    cluster.getArchivedExecutionGraph(job.getJobID()).get().getCheckpointStatsSnapshot();
            return json(outputs(result), cpuSeconds, peakMemoryBytes, checkpoints);
        }
    }

    /** What is not said here is as Flink has it by default; operators are chained. */
    private Configuration settings() {
        Configuration settings = new Configuration();
        settings.set(PipelineOptions.OBJECT_REUSE, objectReuse);
        settings.set(PipelineOptions.GENERIC_TYPES, false); // no slow serializer comes in unseen
        settings.set(StateBackendOptions.STATE_BACKEND, "hashmap");
        settings.set(CheckpointingOptions.CHECKPOINTING_CONSISTENCY_MODE, CheckpointingMode.EXACTLY_ONCE);
        settings.set(CheckpointingOptions.CHECKPOINTING_INTERVAL, Duration.ofSeconds(1));
        settings.set(CheckpointingOptions.CHECKPOINT_STORAGE, "filesystem");
        settings.set(CheckpointingOptions.CHECKPOINTS_DIRECTORY, run.resolve("checkpoints").toUri().toString());
        settings.set(RestartStrategyOptions.RESTART_STRATEGY, "disable"); // a failure ends the run
        settings.set(CoreOptions.TMP_DIRS, run.resolve("tmp").toString());
        settings.set(RestOptions.BIND_ADDRESS, "localhost");
        settings.set(RestOptions.BIND_PORT, "0");
        return settings;
    }

    private JobGraph job(Configuration settings) {
        StreamExecutionEnvironment environment = new StreamExecutionEnvironment(settings);
        environment.setParallelism(parallelism);
        new Workloads(environment, events, check, input, output()).build(workload);
        return environment.getStreamGraph().getJobGraph();
    }

    private Path output() {
        return run.resolve("output");
    }

    /** How many outputs there were, and the sum of their hashes. */
    private record Outputs(long count, long sum) {}

    private Outputs outputs(JobExecutionResult result) throws IOException {
        if (input != null) {
            long read = result.<Long>getAccumulatorResult(Workloads.LINES_READ);
            if (read != events) {
                throw new IOException(input + " holds " + read + " events, not " + events);
            }
        }
        return check && workload.equals("q1-files") ? committed() : new Outputs(Measurements.outputs(), Measurements.sum());
    }

    /** What the output files hold; those whose names begin with a dot were not committed. */
    private Outputs committed() throws IOException {
        long count = 0;
        long sum = 0;
        try (DirectoryStream<Path> files = Files.newDirectoryStream(output(), "[!.]*")) {
            for (Path file : files) {
                for (String line : Files.readAllLines(file)) {
                    count++;
                    sum += Check.hash(Json.bid(line));
                }
            }
        }
        return new Outputs(count, sum);
    }

    /** The most memory that this process had resident so far. */
    private static long peakMemoryBytes() throws IOException {
        try (Stream<String> lines = Files.lines(Path.of("/proc/self/status"))) {
            String peak = lines.filter(line -> line.startsWith("VmHWM:")).findFirst().orElseThrow();
            return Long.parseLong(peak.replaceAll("[^0-9]", "")) * 1024;
        }
    }

    private String json(Outputs outputs, double cpuSeconds, long peakMemoryBytes, CheckpointStatsSnapshot checkpoints) {
        StatsSummarySnapshot durations = checkpoints.getSummaryStats().getEndToEndDurationStats();
        StringBuilder line = new StringBuilder();
        line.append(String.format(
                Locale.ROOT,
                "{\"workload\":\"%s\",\"parallelism\":%d,\"events\":%d,\"elapsed_s\":%.3f,\"outputs\":%d",
                workload, parallelism, events, Measurements.elapsedSeconds(), outputs.count()));
        if (check) {
            line.append(String.format(",\"sum\":\"%016x\"", outputs.sum()));
        }
        line.append(String.format(
                Locale.ROOT,
                ",\"cpu_s\":%.3f,\"peak_memory_bytes\":%d,\"checkpoints_completed\":%d"
                        + ",\"checkpoint_mean_ms\":%d,\"checkpoint_max_ms\":%d}",
                cpuSeconds, peakMemoryBytes, checkpoints.getCounts().getNumberOfCompletedCheckpoints(),
                durations.getAverage(), durations.getMaximum()));
        return line.toString();
    }
}
