package bench;

/**
 * The records of the streams: plain data that Flink knows how to serialize as POJOs.
 *
 * <p>The fields of persons, auctions and bids are Nexmark's. A record is never changed after it was made, because
 * with object reuse an operator hands the same object on to the next one.
 */
public final class Events {
    private Events() {}

    /** A person, an auction or a bid. */
    public static class Event {
        /** Event time in milliseconds since 1970. */
        public long dateTime;

        /** Padding that brings an event to Nexmark's average size. */
        public String extra;
    }

    public static final class Person extends Event {
        public long id;
        public String name;
        public String email;
        public String creditCard;
        public String city;
        public String state;
    }

    public static final class Auction extends Event {
        public long id;
        public String itemName;
        public String description;
        public long initialBid;
        public long reserve;
        public long expires;
        public long seller;
        public long category;
    }

    public static final class Bid extends Event {
        public long auction;
        public long bidder;
        public long price;
        public String channel;
        public String url;

        /** The same bid with another price. */
        Bid withPrice(long price) {
            Bid bid = new Bid();
            bid.auction = auction;
            bid.bidder = bidder;
            bid.price = price;
            bid.channel = channel;
            bid.url = url;
            bid.dateTime = dateTime;
            bid.extra = extra;
            return bid;
        }
    }

    /** A record of the uniform stream. */
    public static final class Uniform {
        public long key;
        public long value;
        public long time;
    }
}
