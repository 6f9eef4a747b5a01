package cases;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.file.Paths;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.ZoneOffset;
import java.util.Arrays;
import java.util.Collections;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.UUID;

/** Handlers that differ in the types of events and answers. */
public class Values {
    public static class Maps implements RequestHandler<Map<String, Object>, Map<String, Object>> {
        @Override
        public Map<String, Object> handleRequest(Map<String, Object> in, Context c) {
            return in;
        }
    }

    public static class Objects implements RequestHandler<Object, Object> {
        @Override
        public Object handleRequest(Object in, Context c) {
            return in;
        }
    }

    public static class Strings implements RequestHandler<String, String> {
        @Override
        public String handleRequest(String in, Context c) {
            return in == null ? null : in + "|" + in.length();
        }
    }

    public static class Integers implements RequestHandler<Integer, Integer> {
        @Override
        public Integer handleRequest(Integer in, Context c) {
            return in + 1;
        }
    }

    public static class Lists implements RequestHandler<List<Integer>, List<String>> {
        @Override
        public List<String> handleRequest(List<Integer> in, Context c) {
            String[] s = new String[in.size()];
            for (int i = 0; i < s.length; i++) {
                s[i] = "<" + in.get(i) + ">";
            }
            return Arrays.asList(s);
        }
    }

    public static class Nothing implements RequestHandler<Object, Void> {
        @Override
        public Void handleRequest(Object in, Context c) {
            return null;
        }
    }

    public static class Null implements RequestHandler<Object, String> {
        @Override
        public String handleRequest(Object in, Context c) {
            return null;
        }
    }

    public enum Color { RED, GREEN }

    public static class Order {
        private String id;
        private Integer amount;
        private boolean paid;
        private Color color;
        private List<Order> parts;
        private Map<String, Double> prices;
        public String open = "field";
        private String URL;
        private Optional<String> note = Optional.empty();
        private Instant at;
        private LocalDate day;

        public String getId() { return id; }
        public void setId(String id) { this.id = id; }
        public Integer getAmount() { return amount; }
        public void setAmount(Integer amount) { this.amount = amount; }
        public boolean isPaid() { return paid; }
        public void setPaid(boolean paid) { this.paid = paid; }
        public Color getColor() { return color; }
        public void setColor(Color color) { this.color = color; }
        public List<Order> getParts() { return parts; }
        public void setParts(List<Order> parts) { this.parts = parts; }
        public Map<String, Double> getPrices() { return prices; }
        public void setPrices(Map<String, Double> prices) { this.prices = prices; }
        public String getURL() { return URL; }
        public void setURL(String url) { this.URL = url; }
        public Optional<String> getNote() { return note; }
        public void setNote(Optional<String> note) { this.note = note; }
        public Instant getAt() { return at; }
        public void setAt(Instant at) { this.at = at; }
        public LocalDate getDay() { return day; }
        public void setDay(LocalDate day) { this.day = day; }
    }

    public static class Orders implements RequestHandler<Order, Order> {
        @Override
        public Order handleRequest(Order in, Context c) {
            return in;
        }
    }

    public abstract static class Base<T, R> implements RequestHandler<T, R> {
    }

    public abstract static class Middle<X> extends Base<X, List<X>> {
    }

    public static class Inherited extends Middle<Order> {
        @Override
        public List<Order> handleRequest(Order in, Context c) {
            return Collections.singletonList(in);
        }
    }

    public static class Unbound<T> implements RequestHandler<T, String> {
        @Override
        public String handleRequest(T in, Context c) {
            return "" + in;
        }
    }

    public static class Bound<T extends Order> implements RequestHandler<T, String> {
        @Override
        public String handleRequest(T in, Context c) {
            return in.getId();
        }
    }

    @SuppressWarnings("rawtypes")
    public static class Raw implements RequestHandler {
        @Override
        public Object handleRequest(Object in, Context c) {
            return in;
        }
    }

    public static class Rich implements RequestHandler<Object, Map<String, Object>> {
        @Override
        public Map<String, Object> handleRequest(Object in, Context c) {
            Map<String, Object> m = new LinkedHashMap<>();
            m.put("nan", Double.NaN);
            m.put("inf", Float.NEGATIVE_INFINITY);
            m.put("big", new BigInteger("123456789012345678901234567890"));
            m.put("decimal", new BigDecimal("1E+30"));
            m.put("tiny", 5e-324);
            m.put("float", 0.1f);
            m.put("long", Long.MIN_VALUE);
            m.put("char", 'x');
            m.put("chars", new char[] {'a', 'b'});
            m.put("bytes", new byte[] {1, 2, -3});
            m.put("buffer", ByteBuffer.wrap(new byte[] {1, 2}));
            m.put("ints", new int[] {1, 2});
            m.put("date", new Date(1700000000123L));
            m.put("instant", Instant.ofEpochMilli(1700000000123L));
            m.put("local", LocalDateTime.of(2026, 11, 25, 1, 2, 3));
            m.put("offset", Instant.ofEpochSecond(0).atOffset(ZoneOffset.ofHours(2)));
            m.put("duration", Duration.ofMillis(1500));
            m.put("uuid", new UUID(1, 2));
            m.put("enum", Color.GREEN);
            m.put("class", String.class);
            m.put("path", Paths.get("/a/b"));
            m.put("optional", Optional.of("there"));
            m.put("none", Optional.empty());
            m.put("null", null);
            m.put("control", "\u0000\u001f\u007f\u2028\"\\/<>&'");
            m.put("emoji", "\ud83d\ude00 ключ");
            return m;
        }
    }

    public static class Surrogate implements RequestHandler<Object, String> {
        @Override
        public String handleRequest(Object in, Context c) {
            return "a\ud800b";
        }
    }

    public static class Loop implements RequestHandler<Object, Object> {
        @Override
        public Object handleRequest(Object in, Context c) {
            Map<String, Object> m = new LinkedHashMap<>();
            m.put("self", m);
            return m;
        }
    }

    public static class Getter {
        public String getBroken() {
            throw new IllegalStateException("no value");
        }
    }

    public static class BrokenGetter implements RequestHandler<Object, Getter> {
        @Override
        public Getter handleRequest(Object in, Context c) {
            return new Getter();
        }
    }

    public static class Empty {
    }

    public static class EmptyBean implements RequestHandler<Empty, Empty> {
        @Override
        public Empty handleRequest(Empty in, Context c) {
            return in;
        }
    }

    public interface Shape {
        String name();
    }

    public static class Abstract implements RequestHandler<Shape, String> {
        @Override
        public String handleRequest(Shape in, Context c) {
            return in.name();
        }
    }
}
