package bench;

import java.nio.charset.StandardCharsets;

/**
 * The generator's source of chance: splitmix64, started anew for each event, so that every event depends on the seed
 * and its own number only. All arithmetic wraps at 64 bits, and shifts are logical.
 */
final class SplitMix {
    static final long GOLDEN = 0x9E3779B97F4A7C15L;

    private final byte[] letters = new byte[512];
    private long state;

    /** Scatters the bits of a number. */
    static long mix(long z) {
        z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
        z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
        return z ^ (z >>> 31);
    }

    /** Starts the stream of event {@code n}, or of entry {@code n} of a table. */
    void start(long seed, long n) {
        state = mix(seed + (n + 1) * GOLDEN);
    }

    private long next() {
        state += GOLDEN;
        return mix(state);
    }

    /** A number from 0 to {@code bound - 1}, for bounds up to 2^31. */
    long below(long bound) {
        return ((next() >>> 32) * bound) >>> 32;
    }

    /** So many lower-case letters; eight of them take one draw. */
    String string(int length) {
        long bits = 0;
        for (int i = 0; i < length; i++) {
            if (i % 8 == 0) {
                bits = next();
            }
            letters[i] = (byte) ('a' + (((bits & 0xff) * 26) >> 8));
            bits >>>= 8;
        }
        return new String(letters, 0, length, StandardCharsets.ISO_8859_1);
    }
}
