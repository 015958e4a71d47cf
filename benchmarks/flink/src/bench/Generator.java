package bench;

import bench.Events.Auction;
import bench.Events.Bid;
import bench.Events.Event;
import bench.Events.Person;
import bench.Events.Uniform;

/**
 * The deterministic generator: the same events as Tidemill's {@code nexmark} connector makes, byte for byte.
 *
 * <p>An event is a function of the seed and its number, so a position is all that a source has to remember. The order
 * of the draws within an event is part of the definition: moving one changes every event.
 *
 * <p>One generator belongs to one thread.
 */
final class Generator {
    /** The seed of all workloads. */
    static final long SEED = 42;

    /** Fifty events in a row hold one person, three auctions and 46 bids. Splits are dealt in these blocks. */
    private static final int BLOCK = 50;

    private static final int AUCTIONS_PER_BLOCK = 3;
    private static final long FIRST_ID = 1000;
    private static final long FIRST_TIME = 1_700_000_000_000L;
    private static final int EVENTS_PER_MS = 10;

    /** An auction stays open for about as long as it takes to make this many events. */
    private static final int EVENTS_PER_AUCTION = 1666;

    private static final long ACTIVE_PERSONS = 1000;
    private static final long ACTIVE_AUCTIONS = 100;
    /** A reference may point to one of this many that do not exist yet. */
    private static final long AHEAD = 10;

    private static final long[] MAGNITUDES = {1, 10, 100, 1000, 10_000, 100_000};

    private static final long UNIFORM_KEYS = 1_000_000;
    private static final int WORDS_PER_LINE = 10;

    private final SplitMix random = new SplitMix();
    private final long seed;

    Generator(long seed) {
        this.seed = seed;
    }

    /** The number of the {@code position}-th event of split {@code index} of {@code splits}. */
    static long number(long position, int index, int splits) {
        return (position / BLOCK * splits + index) * BLOCK + position % BLOCK;
    }

    /** Event {@code n} of the Nexmark stream. */
    Event event(long n) {
        random.start(seed, n);
        int offset = (int) (n % BLOCK);
        Event event = offset == 0 ? person(n) : offset <= AUCTIONS_PER_BLOCK ? auction(n) : bid(n);
        event.dateTime = time(n);
        return event;
    }

    /** Record {@code n} of the uniform stream. */
    Uniform uniform(long n) {
        random.start(seed, n);
        Uniform record = new Uniform();
        record.key = random.below(UNIFORM_KEYS);
        record.value = 1 + random.below(10_000);
        record.time = time(n);
        return record;
    }

    /** Line {@code n} of the stream of text, in which some words are much more frequent than others. */
    String line(long n) {
        random.start(seed, n);
        StringBuilder line = new StringBuilder(96);
        for (int i = 0; i < WORDS_PER_LINE; i++) {
            if (i > 0) {
                line.append(' ');
            }
            long bound = random.below(random.below(Tables.WORDS.length) + 1) + 1;
            line.append(Tables.WORDS[(int) random.below(bound)]);
        }
        return line.toString();
    }

    private Person person(long n) {
        Person person = new Person();
        person.id = FIRST_ID + lastPerson(n);
        person.name = pick(Tables.FIRST_NAMES) + " " + pick(Tables.LAST_NAMES);
        person.email = random.string(7) + "@" + random.string(5) + ".com";
        person.creditCard = fourDigits() + " " + fourDigits() + " " + fourDigits() + " " + fourDigits();
        person.city = pick(Tables.CITIES);
        person.state = pick(Tables.STATES);
        int size = person.name.length() + person.email.length() + person.creditCard.length();
        person.extra = extra(8 + size + person.city.length() + person.state.length(), 200);
        return person;
    }

    private Auction auction(long n) {
        Auction auction = new Auction();
        auction.id = FIRST_ID + lastAuction(n);
        boolean hot = random.below(4) > 0;
        auction.seller = FIRST_ID + (hot ? lastPerson(n) / 100 * 100 : anyPerson(n));
        auction.category = 10 + random.below(5);
        auction.initialBid = price();
        auction.reserve = auction.initialBid + price();
        long open = time(n + EVENTS_PER_AUCTION) - time(n);
        auction.expires = time(n) + 1 + random.below(Math.max(open * 2, 1));
        auction.itemName = random.string(20);
        auction.description = random.string(100);
        auction.extra = extra(168, 500);
        return auction;
    }

    private Bid bid(long n) {
        Bid bid = new Bid();
        boolean hotAuction = random.below(2) > 0;
        bid.auction = FIRST_ID + (hotAuction ? lastAuction(n) / 100 * 100 : anyAuction(n));
        boolean hotBidder = random.below(4) > 0;
        bid.bidder = FIRST_ID + (hotBidder ? lastPerson(n) / 100 * 100 + 1 : anyPerson(n));
        bid.price = price();
        boolean hotChannel = random.below(2) > 0;
        int channel = (int) (hotChannel ? Tables.COLD_CHANNELS + random.below(4) : random.below(Tables.COLD_CHANNELS));
        bid.channel = Tables.CHANNELS[channel];
        bid.url = Tables.URLS[channel];
        bid.extra = extra(32, 100);
        return bid;
    }

    private static long time(long n) {
        return FIRST_TIME + n / EVENTS_PER_MS;
    }

    /** The newest person when event {@code n} is made. */
    private static long lastPerson(long n) {
        return n / BLOCK;
    }

    /** The newest auction when event {@code n} is made, which is no person. */
    private static long lastAuction(long n) {
        return n / BLOCK * AUCTIONS_PER_BLOCK + Math.min(n % BLOCK, AUCTIONS_PER_BLOCK) - 1;
    }

    private long anyPerson(long n) {
        long persons = lastPerson(n) + 1;
        long active = Math.min(persons, ACTIVE_PERSONS);
        return persons - active + random.below(active + AHEAD);
    }

    private long anyAuction(long n) {
        long last = lastAuction(n);
        long oldest = Math.max(last - ACTIVE_AUCTIONS, 0);
        return oldest + random.below(last - oldest + 1 + AHEAD);
    }

    /** Prices are spread evenly over six orders of magnitude. */
    private long price() {
        long magnitude = MAGNITUDES[(int) random.below(MAGNITUDES.length)];
        return 100 * magnitude + random.below(900 * magnitude);
    }

    /** What an event of this size lacks to the average, give or take a fifth. */
    private String extra(int size, int average) {
        if (size > average) {
            return "";
        }
        int lacking = average - size;
        int delta = (lacking + 2) / 5;
        int more = delta == 0 ? 0 : (int) random.below(2 * delta);
        return random.string(lacking - delta + more);
    }

    private String pick(String[] names) {
        return names[(int) random.below(names.length)];
    }

    private String fourDigits() {
        return String.valueOf(10_000 + random.below(10_000)).substring(1);
    }
}
