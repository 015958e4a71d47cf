package bench;

import bench.Events.Bid;
import java.util.Arrays;
import org.apache.flink.api.java.tuple.Tuple;

/**
 * The check sum of outputs: a hash of the fields of each output, added up, so that the order of outputs does not
 * matter but their number and every field does. Its definition does not depend on Flink.
 */
final class Check {
    private Check() {}

    static long hash(Object output) {
        if (output instanceof Bid bid) {
            return hashAll(bid.auction, bid.bidder, bid.price, bid.dateTime, bid.channel, bid.url, bid.extra);
        }
        Tuple tuple = (Tuple) output;
        Object[] fields = new Object[tuple.getArity()];
        Arrays.setAll(fields, tuple::getField);
        return hashAll(fields);
    }

    private static long hashAll(Object... fields) {
        long hash = 0;
        for (Object field : fields) {
            long value = field instanceof Long number ? number : hashText((String) field);
            hash = SplitMix.mix(hash + value + SplitMix.GOLDEN);
        }
        return hash;
    }

    /** FNV-1a of a text in ASCII. */
    private static long hashText(String text) {
        long hash = 1469598103934665603L;
        for (int i = 0; i < text.length(); i++) {
            hash = (hash ^ text.charAt(i)) * 1099511628211L;
        }
        return hash;
    }
}
