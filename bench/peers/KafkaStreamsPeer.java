import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.FileReader;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.Properties;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;

/**
 * Kafka Streams doing what the bus's worker does to a record: decode, mask three fields, encode.
 * It validates nothing and keeps no account. Argument: a file of Kafka Streams' properties, with
 * bench.schema (file of the Avro schema), bench.source and bench.target (topics) among them.
 */
public final class KafkaStreamsPeer {
    private static final int PREFIX_BYTES = 5;

    private final Schema schema;
    private final ThreadLocal<GenericDatumReader<GenericRecord>> readers;
    private final ThreadLocal<GenericDatumWriter<GenericRecord>> writers;

    private KafkaStreamsPeer(Schema schema) {
        this.schema = schema;
        this.readers = ThreadLocal.withInitial(() -> new GenericDatumReader<>(this.schema));
        this.writers = ThreadLocal.withInitial(() -> new GenericDatumWriter<>(this.schema));
    }

    public static void main(String[] arguments) throws IOException {
        Properties properties = new Properties();
        try (FileReader file = new FileReader(arguments[0])) {
            properties.load(file);
        }
        Schema schema = new Schema.Parser().parse(new File(properties.getProperty("bench.schema")));
        KafkaStreamsPeer peer = new KafkaStreamsPeer(schema);
        var bytes = Serdes.ByteArray();
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(properties.getProperty("bench.source"), Consumed.with(bytes, bytes))
            .mapValues(peer::masked)
            .to(properties.getProperty("bench.target"), Produced.with(bytes, bytes));
        KafkaStreams streams = new KafkaStreams(builder.build(), properties);
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }

    private byte[] masked(byte[] value) {
        try {
            BinaryDecoder decoder =
                DecoderFactory.get().binaryDecoder(value, PREFIX_BYTES, value.length - PREFIX_BYTES, null);
            GenericRecord envelope = readers.get().read(null, decoder);
            GenericRecord row = (GenericRecord) envelope.get("after");
            mask(row, "name", 1, 0);
            mask(row, "id_number", 6, 4);
            mask(row, "mobile", 3, 4);
            ByteArrayOutputStream out = new ByteArrayOutputStream(value.length + 16);
            out.write(value, 0, PREFIX_BYTES);
            BinaryEncoder encoder = EncoderFactory.get().directBinaryEncoder(out, null);
            writers.get().write(envelope, encoder);
            encoder.flush();
            return out.toByteArray();
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private static void mask(GenericRecord row, String field, int first, int last) {
        Object value = row.get(field);
        if (value != null) {
            String text = value.toString();
            int end = text.length() - last;
            row.put(field, text.substring(0, first) + "*".repeat(end - first) + text.substring(end));
        }
    }
}
