package bench;

import java.util.concurrent.atomic.AtomicLong;

/**
 * What sources and sinks tell about a run. All tasks live in one JVM, so plain statics do; they are written when a task
 * begins and when it ends, not per record. They hold for one run without restarts, which {@link Main} sees to.
 */
final class Measurements {
    private static final AtomicLong FIRST_RECORD = new AtomicLong(Long.MAX_VALUE);
    private static final AtomicLong LAST_RECORD = new AtomicLong(Long.MIN_VALUE);
    private static final AtomicLong OUTPUTS = new AtomicLong();
    private static final AtomicLong SUM = new AtomicLong();

    private Measurements() {}

    /** A source is about to hand out its first record. */
    static void recordsBegin() {
        FIRST_RECORD.accumulateAndGet(System.nanoTime(), Math::min);
    }

    /** A sink has taken its last record. */
    static void recordsEnd(long outputs, long sum) {
        LAST_RECORD.accumulateAndGet(System.nanoTime(), Math::max);
        OUTPUTS.addAndGet(outputs);
        SUM.addAndGet(sum);
    }

    static double elapsedSeconds() {
        return (LAST_RECORD.get() - FIRST_RECORD.get()) / 1e9;
    }

    static long outputs() {
        return OUTPUTS.get();
    }

    /** The sum of the outputs' hashes; 0 when nobody asked for it. */
    static long sum() {
        return SUM.get();
    }
}
