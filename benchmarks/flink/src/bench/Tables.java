package bench;

/**
 * The texts that events are made of: names, and channels, addresses and words that are drawn from seeds of their own,
 * so that they are the same for every seed of a stream. Made when the class is loaded, then only read.
 */
final class Tables {
    static final String[] FIRST_NAMES = {
        "Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter"
    };
    static final String[] LAST_NAMES = {
        "Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"
    };
    static final String[] CITIES = {
        "Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne"
    };
    static final String[] STATES = {"AZ", "CA", "ID", "OR", "WA", "WY"};
    static final String[] HOT_CHANNELS = {"Google", "Facebook", "Baidu", "Apple"};

    static final int COLD_CHANNELS = 10_000;
    static final String[] CHANNELS = new String[COLD_CHANNELS + HOT_CHANNELS.length];
    static final String[] URLS = new String[CHANNELS.length];
    static final String[] WORDS = new String[50_000];

    private static final long CHANNELS_SEED = 0x6368616E6E656C73L; // "channels"
    private static final long WORDS_SEED = 0x776F726473L; // "words"

    private Tables() {}

    /** Makes the tables, which would else be made within the first event. */
    static void load() {}

    static {
        SplitMix random = new SplitMix();
        for (int i = 0; i < CHANNELS.length; i++) {
            random.start(CHANNELS_SEED, i);
            String path = random.string(5) + "/" + random.string(5) + "/" + random.string(5);
            URLS[i] = "https://www.nexmark.com/" + path + "/item.htm?query=1";
            if (i >= COLD_CHANNELS) {
                CHANNELS[i] = HOT_CHANNELS[i - COLD_CHANNELS];
                continue;
            }
            CHANNELS[i] = "channel-" + i;
            if (random.below(10) > 0) {
                URLS[i] += "&channel_id=" + (Integer.reverse(i) & 0x7fffffff);
            }
        }
        for (int i = 0; i < WORDS.length; i++) {
            random.start(WORDS_SEED, i);
            int length = 3 + (int) random.below(8);
            WORDS[i] = random.string(length);
        }
    }
}
