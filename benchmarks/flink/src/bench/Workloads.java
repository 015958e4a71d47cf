package bench;

import bench.Events.Bid;
import bench.Events.Event;
import bench.Events.Uniform;
import java.nio.file.Path;
import org.apache.flink.api.common.accumulators.LongCounter;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichFlatMapFunction;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.api.java.tuple.Tuple3;
import org.apache.flink.connector.file.src.FileSource;
import org.apache.flink.connector.file.src.reader.TextLineInputFormat;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;

/**
 * The jobs. Each is written as one would write it for Flink, in its cheapest form: what crosses a keyed edge is a tuple
 * of what is needed (Flink's fastest serializer), and state is updated in place.
 */
final class Workloads {
    /** The accumulator that holds how many lines of files were read. */
    static final String LINES_READ = "lines-read";

    private static final TypeInformation<Tuple2<Long, Long>> PAIR = Types.TUPLE(Types.LONG, Types.LONG);
    private static final TypeInformation<Tuple3<Long, Long, Long>> TRIPLE =
            Types.TUPLE(Types.LONG, Types.LONG, Types.LONG);

    private final StreamExecutionEnvironment environment;
    private final long events;
    private final boolean check;
    /** Folders of the workloads that read and write files. */
    private final Path input;

    private final Path output;

    Workloads(StreamExecutionEnvironment environment, long events, boolean check, Path input, Path output) {
        this.environment = environment;
        this.events = events;
        this.check = check;
        this.input = input;
        this.output = output;
    }

    /** Adds the job of this name to the environment. */
    void build(String workload) {
        switch (workload) {
            case "q0" -> count(bids());
            case "q1" -> count(inOtherCurrency(bids()));
            case "q2" -> count(bids()
                    .filter(bid -> bid.auction % 123 == 0)
                    .map(bid -> Tuple2.of(bid.auction, bid.price))
                    .returns(PAIR));
            case "count" -> count(countAndSum(prices(bids())));
            case "count-files" -> count(countAndSum(prices(bidsOfFiles())));
            case "q1-files" -> writeFiles(inOtherCurrency(bidsOfFiles()));
            case "heavy" -> count(countAndSum(generated(Generator::uniform, TypeInformation.of(Uniform.class))
                    .map(record -> Tuple2.of(record.key, record.value))
                    .returns(PAIR)));
            case "wordcount" -> count(generated(Generator::line, Types.STRING)
                    .flatMap(Workloads::split)
                    .returns(Types.STRING)
                    .keyBy(word -> word, Types.STRING)
                    .process(new CountWords())
                    .returns(Types.TUPLE(Types.STRING, Types.LONG)));
            default -> throw new IllegalArgumentException("there is no workload " + workload);
        }
    }

    private DataStream<Bid> bidsOfFiles() {
        org.apache.flink.core.fs.Path path = new org.apache.flink.core.fs.Path(input.toUri());
        FileSource<String> lines = FileSource.forRecordStreamFormat(new TextLineInputFormat(), path).build();
        return environment
                .fromSource(lines, WatermarkStrategy.noWatermarks(), "files")
                .flatMap(new ParseBids())
                .returns(Bid.class);
    }

    /** A counting sink beside the files tells when the last bid was there; the check reads the files themselves, later. */
    private void writeFiles(DataStream<Bid> bids) {
        bids.sinkTo(Sinks.ndjson(output));
        bids.sinkTo(new Sinks.Count<>(false));
    }

    private <T> DataStream<T> generated(GeneratorSource.Maker<T> maker, TypeInformation<T> type) {
        int splits = environment.getParallelism();
        GeneratorSource<T> source = new GeneratorSource<>(maker, type, Generator.SEED, events, splits);
        return environment.fromSource(source, WatermarkStrategy.noWatermarks(), "generator");
    }

    private DataStream<Bid> bids() {
        return generated(Generator::event, TypeInformation.of(Event.class))
                .flatMap((Event event, Collector<Bid> out) -> {
                    if (event instanceof Bid bid) {
                        out.collect(bid);
                    }
                })
                .returns(Bid.class);
    }

    private static DataStream<Bid> inOtherCurrency(DataStream<Bid> bids) {
        return bids.map(bid -> bid.withPrice(bid.price * 908 / 1000)).returns(Bid.class);
    }

    private static DataStream<Tuple2<Long, Long>> prices(DataStream<Bid> bids) {
        return bids.map(bid -> Tuple2.of(bid.auction, bid.price)).returns(PAIR);
    }

    private static DataStream<Tuple3<Long, Long, Long>> countAndSum(DataStream<Tuple2<Long, Long>> pairs) {
        return pairs.keyBy(pair -> pair.f0, Types.LONG).process(new CountAndSum()).returns(TRIPLE);
    }

    private <T> void count(DataStream<T> outputs) {
        outputs.sinkTo(new Sinks.Count<>(check));
    }

    private static void split(String line, Collector<String> words) {
        int start = 0;
        for (int end = line.indexOf(' '); end >= 0; end = line.indexOf(' ', start)) {
            if (end > start) {
                words.collect(line.substring(start, end));
            }
            start = end + 1;
        }
        if (start < line.length()) {
            words.collect(line.substring(start));
        }
    }

    /** Emits (key, count, sum) for each (key, value). */
    private static final class CountAndSum
            extends KeyedProcessFunction<Long, Tuple2<Long, Long>, Tuple3<Long, Long, Long>> {
        private static final long serialVersionUID = 1;

        private transient ValueState<Tuple2<Long, Long>> state;
        private transient Tuple3<Long, Long, Long> output;

        @Override
        public void open(OpenContext context) {
            state = getRuntimeContext().getState(new ValueStateDescriptor<>("count-and-sum", PAIR));
            output = new Tuple3<>();
        }

        @Override
        public void processElement(Tuple2<Long, Long> pair, Context context, Collector<Tuple3<Long, Long, Long>> out)
                throws Exception {
            Tuple2<Long, Long> seen = state.value();
            if (seen == null) {
                seen = Tuple2.of(0L, 0L);
            }
            seen.f0 += 1;
            seen.f1 += pair.f1;
            state.update(seen);
            output.setFields(pair.f0, seen.f0, seen.f1);
            out.collect(output);
        }
    }

    /** Emits (word, count) for each word. */
    private static final class CountWords extends KeyedProcessFunction<String, String, Tuple2<String, Long>> {
        private static final long serialVersionUID = 1;

        private transient ValueState<Long> state;
        private transient Tuple2<String, Long> output;

        @Override
        public void open(OpenContext context) {
            state = getRuntimeContext().getState(new ValueStateDescriptor<>("count", Types.LONG));
            output = new Tuple2<>();
        }

        @Override
        public void processElement(String word, Context context, Collector<Tuple2<String, Long>> out)
                throws Exception {
            Long seen = state.value();
            Long count = seen == null ? 1 : seen + 1;
            state.update(count);
            output.setFields(word, count);
            out.collect(output);
        }
    }

    /** Reads the bids out of lines, and counts the lines. */
    private static final class ParseBids extends RichFlatMapFunction<String, Bid> {
        private static final long serialVersionUID = 1;

        private transient LongCounter lines;

        @Override
        public void open(OpenContext context) {
            lines = getRuntimeContext().getLongCounter(LINES_READ);
        }

        @Override
        public void flatMap(String line, Collector<Bid> out) throws Exception {
            if (lines.getLocalValuePrimitive() == 0) {
                Measurements.recordsBegin();
            }
            lines.add(1L);
            Bid bid = Json.bid(line);
            if (bid != null) {
                out.collect(bid);
            }
        }
    }
}
