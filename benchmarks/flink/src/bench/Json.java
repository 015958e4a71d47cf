package bench;

import bench.Events.Auction;
import bench.Events.Bid;
import bench.Events.Event;
import bench.Events.Person;
import java.io.IOException;
import java.io.OutputStream;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonFactory;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonGenerator;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonParser;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonToken;

/**
 * Events as NDJSON, by the streaming parts of the Jackson that Flink brings: they are several times as fast as binding
 * to classes. Fields are written in the order of the generator's definition.
 */
final class Json {
    private static final JsonFactory FACTORY = new JsonFactory().setRootValueSeparator(null);

    private Json() {}

    /** A writer that leaves the closing of {@code out} to its owner. */
    static JsonGenerator writer(OutputStream out) throws IOException {
        return FACTORY.createGenerator(out).disable(JsonGenerator.Feature.AUTO_CLOSE_TARGET);
    }

    /** The bid that a line holds, or null when it holds another event, of which no more than the type is read. */
    static Bid bid(String line) throws IOException {
        try (JsonParser json = FACTORY.createParser(line)) {
            if (json.nextToken() != JsonToken.START_OBJECT || !"type".equals(json.nextFieldName())) {
                throw new IOException("not an event: " + line);
            }
            return "bid".equals(json.nextTextValue()) ? bid(json) : null;
        }
    }

    private static Bid bid(JsonParser json) throws IOException {
        Bid bid = new Bid();
        for (String name = json.nextFieldName(); name != null; name = json.nextFieldName()) {
            json.nextToken();
            switch (name) {
                case "auction" -> bid.auction = json.getLongValue();
                case "bidder" -> bid.bidder = json.getLongValue();
                case "price" -> bid.price = json.getLongValue();
                case "channel" -> bid.channel = json.getText();
                case "url" -> bid.url = json.getText();
                case "date_time" -> bid.dateTime = json.getLongValue();
                case "extra" -> bid.extra = json.getText();
                default -> json.skipChildren();
            }
        }
        return bid;
    }

    /** Writes an event and the end of its line. */
    static void write(Event event, JsonGenerator json) throws IOException {
        json.writeStartObject();
        if (event instanceof Bid bid) {
            fields(bid, json);
        } else if (event instanceof Auction auction) {
            fields(auction, json);
        } else {
            fields((Person) event, json);
        }
        json.writeStringField("extra", event.extra);
        json.writeEndObject();
        json.writeRaw('\n');
    }

    private static void fields(Bid bid, JsonGenerator json) throws IOException {
        json.writeStringField("type", "bid");
        json.writeNumberField("auction", bid.auction);
        json.writeNumberField("bidder", bid.bidder);
        json.writeNumberField("price", bid.price);
        json.writeStringField("channel", bid.channel);
        json.writeStringField("url", bid.url);
        json.writeNumberField("date_time", bid.dateTime);
    }

    private static void fields(Auction auction, JsonGenerator json) throws IOException {
        json.writeStringField("type", "auction");
        json.writeNumberField("id", auction.id);
        json.writeStringField("item_name", auction.itemName);
        json.writeStringField("description", auction.description);
        json.writeNumberField("initial_bid", auction.initialBid);
        json.writeNumberField("reserve", auction.reserve);
        json.writeNumberField("date_time", auction.dateTime);
        json.writeNumberField("expires", auction.expires);
        json.writeNumberField("seller", auction.seller);
        json.writeNumberField("category", auction.category);
    }

    private static void fields(Person person, JsonGenerator json) throws IOException {
        json.writeStringField("type", "person");
        json.writeNumberField("id", person.id);
        json.writeStringField("name", person.name);
        json.writeStringField("email", person.email);
        json.writeStringField("credit_card", person.creditCard);
        json.writeStringField("city", person.city);
        json.writeStringField("state", person.state);
        json.writeNumberField("date_time", person.dateTime);
    }
}
