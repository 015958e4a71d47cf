package bench;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.Serializable;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Iterator;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.connector.source.Boundedness;
import org.apache.flink.api.connector.source.ReaderOutput;
import org.apache.flink.api.connector.source.Source;
import org.apache.flink.api.connector.source.SourceReader;
import org.apache.flink.api.connector.source.SourceReaderContext;
import org.apache.flink.api.connector.source.SourceSplit;
import org.apache.flink.api.connector.source.SplitEnumerator;
import org.apache.flink.api.connector.source.SplitEnumeratorContext;
import org.apache.flink.api.java.typeutils.ResultTypeQueryable;
import org.apache.flink.core.io.InputStatus;
import org.apache.flink.core.io.SimpleVersionedSerializer;

/**
 * A bounded source of generated records (FLIP-27), with one split for each parallel reader.
 *
 * <p>A split knows the position of the next record. Checkpoints keep the splits, so that after a failure a reader goes
 * on with the record after the last one that the checkpoint covers: no record is lost or made twice.
 */
final class GeneratorSource<T>
        implements Source<T, GeneratorSource.Split, Collection<GeneratorSource.Split>>, ResultTypeQueryable<T> {
    private static final long serialVersionUID = 1;

    private final Maker<T> maker;
    private final TypeInformation<T> type;
    private final long seed;
    private final long events;
    private final int splits;

    GeneratorSource(Maker<T> maker, TypeInformation<T> type, long seed, long events, int splits) {
        this.maker = maker;
        this.type = type;
        this.seed = seed;
        this.events = events;
        this.splits = splits;
    }

    /** Makes record {@code n} of a stream. */
    interface Maker<T> extends Serializable {
        T make(Generator generator, long n);
    }

    /** A part of the stream, and how many of its records were made. */
    record Split(int index, long position) implements SourceSplit {
        @Override
        public String splitId() {
            return Integer.toString(index);
        }
    }

    @Override
    public Boundedness getBoundedness() {
        return Boundedness.BOUNDED;
    }

    @Override
    public TypeInformation<T> getProducedType() {
        return type;
    }

    @Override
    public SourceReader<T, Split> createReader(SourceReaderContext context) {
        return new Reader();
    }

    @Override
    public SplitEnumerator<Split, Collection<Split>> createEnumerator(SplitEnumeratorContext<Split> context) {
        List<Split> all = new ArrayList<>();
        for (int index = 0; index < splits; index++) {
            all.add(new Split(index, 0));
        }
        return new Enumerator(context, all);
    }

    @Override
    public SplitEnumerator<Split, Collection<Split>> restoreEnumerator(
            SplitEnumeratorContext<Split> context, Collection<Split> unassigned) {
        return new Enumerator(context, unassigned);
    }

    @Override
    public SimpleVersionedSerializer<Split> getSplitSerializer() {
        return new SplitSerializer();
    }

    @Override
    public SimpleVersionedSerializer<Collection<Split>> getEnumeratorCheckpointSerializer() {
        return new SplitsSerializer();
    }

    /** Makes the records of its splits, one split after the other. */
    private final class Reader implements SourceReader<T, Split> {
        private final Generator generator = new Generator(seed);
        private final ArrayDeque<Split> waiting = new ArrayDeque<>();
        private CompletableFuture<Void> available = new CompletableFuture<>();
        private boolean complete;

        /** The index of the split that is being read, or -1, and where in it. */
        private int index = -1;
        private long position;

        @Override
        public void start() {
            Tables.load();
        }

        @Override
        public InputStatus pollNext(ReaderOutput<T> output) {
            if (index < 0) {
                return nextSplit();
            }
            long n = Generator.number(position, index, splits);
            if (n >= events) {
                index = -1;
                return InputStatus.MORE_AVAILABLE;
            }
            position++;
            output.collect(maker.make(generator, n));
            return InputStatus.MORE_AVAILABLE;
        }

        private InputStatus nextSplit() {
            Split split = waiting.poll();
            if (split != null) {
                index = split.index();
                position = split.position();
                Measurements.recordsBegin();
                return InputStatus.MORE_AVAILABLE;
            }
            if (complete) {
                return InputStatus.END_OF_INPUT;
            }
            available = new CompletableFuture<>();
            return InputStatus.NOTHING_AVAILABLE;
        }

        @Override
        public List<Split> snapshotState(long checkpoint) {
            List<Split> state = new ArrayList<>(waiting);
            if (index >= 0) {
                state.add(new Split(index, position));
            }
            return state;
        }

        @Override
        public CompletableFuture<Void> isAvailable() {
            return available;
        }

        @Override
        public void addSplits(List<Split> more) {
            waiting.addAll(more);
            available.complete(null);
        }

        @Override
        public void notifyNoMoreSplits() {
            complete = true;
            available.complete(null);
        }

        @Override
        public void close() {}
    }

    /** Gives each reader its splits as soon as it is there. */
    private static final class Enumerator implements SplitEnumerator<Split, Collection<Split>> {
        private final SplitEnumeratorContext<Split> context;
        private final List<Split> unassigned;

        Enumerator(SplitEnumeratorContext<Split> context, Collection<Split> unassigned) {
            this.context = context;
            this.unassigned = new ArrayList<>(unassigned);
        }

        @Override
        public void start() {}

        @Override
        public void addReader(int reader) {
            Iterator<Split> each = unassigned.iterator();
            while (each.hasNext()) {
                Split split = each.next();
                if (split.index() % context.currentParallelism() == reader) {
                    context.assignSplit(split, reader);
                    each.remove();
                }
            }
            context.signalNoMoreSplits(reader);
        }

        /** A reader failed before a checkpoint had its splits; it registers again when it is back. */
        @Override
        public void addSplitsBack(List<Split> back, int reader) {
            unassigned.addAll(back);
        }

        @Override
        public void handleSplitRequest(int reader, String host) {}

        @Override
        public Collection<Split> snapshotState(long checkpoint) {
            return new ArrayList<>(unassigned);
        }

        @Override
        public void close() {}
    }

    private static final class SplitSerializer implements SimpleVersionedSerializer<Split> {
        @Override
        public int getVersion() {
            return 1;
        }

        @Override
        public byte[] serialize(Split split) throws IOException {
            ByteArrayOutputStream bytes = new ByteArrayOutputStream();
            write(split, new DataOutputStream(bytes));
            return bytes.toByteArray();
        }

        @Override
        public Split deserialize(int version, byte[] bytes) throws IOException {
            return read(new DataInputStream(new ByteArrayInputStream(bytes)));
        }

        static void write(Split split, DataOutputStream out) throws IOException {
            out.writeInt(split.index());
            out.writeLong(split.position());
        }

        static Split read(DataInputStream in) throws IOException {
            return new Split(in.readInt(), in.readLong());
        }
    }

    private static final class SplitsSerializer implements SimpleVersionedSerializer<Collection<Split>> {
        @Override
        public int getVersion() {
            return 1;
        }

        @Override
        public byte[] serialize(Collection<Split> splits) throws IOException {
            ByteArrayOutputStream bytes = new ByteArrayOutputStream();
            DataOutputStream out = new DataOutputStream(bytes);
            out.writeInt(splits.size());
            for (Split split : splits) {
                SplitSerializer.write(split, out);
            }
            return bytes.toByteArray();
        }

        @Override
        public Collection<Split> deserialize(int version, byte[] bytes) throws IOException {
            DataInputStream in = new DataInputStream(new ByteArrayInputStream(bytes));
            List<Split> splits = new ArrayList<>();
            for (int left = in.readInt(); left > 0; left--) {
                splits.add(SplitSerializer.read(in));
            }
            return splits;
        }
    }
}
