package cases;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import java.io.IOError;
import java.io.IOException;
import java.util.Map;

/** Handlers that fail, each in its own way. */
public class Failures {
    public static class Custom extends Exception {
        public Custom(String message, Throwable cause) { super(message, cause); }
        @Override
        public String getLocalizedMessage() { return "localized: " + getMessage(); }
    }

    public static class Unchecked implements RequestHandler<Object, String> {
        @Override
        public String handleRequest(Object in, Context c) { throw new IllegalStateException("üñí \"quoted\"\nsecond line <&'> \u2028"); }
    }

    public static class NoMessage implements RequestHandler<Object, String> {
        @Override
        public String handleRequest(Object in, Context c) { throw new RuntimeException(); }
    }

    public static class Caused implements RequestHandler<Object, String> {
        private static void deep(int n) {
            if (n == 0) {
                throw new UnsupportedOperationException("deepest");
            }
            deep(n - 1);
        }

        @Override
        public String handleRequest(Object in, Context c) {
            try {
                deep(3);
                return null;
            } catch (RuntimeException e) {
                RuntimeException r = new RuntimeException("outer", new Custom("middle", e));
                r.addSuppressed(new IOException("closing failed", new Error("why")));
                throw r;
            }
        }
    }

    public static class Circular implements RequestHandler<Object, String> {
        @Override
        public String handleRequest(Object in, Context c) {
            RuntimeException a = new RuntimeException("a");
            RuntimeException b = new RuntimeException("b", a);
            a.initCause(b);
            throw a;
        }
    }

    public static class Checked {
        public String handle(Object in) throws Exception { throw new Custom("checked", null); }
    }

    public static class NullPointer implements RequestHandler<Map<String, Object>, String> {
        @Override
        public String handleRequest(Map<String, Object> in, Context c) { return in.get("missing").toString(); }
    }

    public static class Mistyped implements RequestHandler<Map<String, String>, String> {
        @Override
        public String handleRequest(Map<String, String> in, Context c) {
            Object o = in.get("n");
            return ((Integer) o).toString();
        }
    }

    public static class Overflow implements RequestHandler<Object, Integer> {
        private int f(int n) { return f(n + 1) + 1; }

        @Override
        public Integer handleRequest(Object in, Context c) { return f(0); }
    }

    public static class OutOfMemory implements RequestHandler<Object, String> {
        @Override
        public String handleRequest(Object in, Context c) { throw new OutOfMemoryError("Java heap space"); }
    }

    public static class BrokenIO implements RequestHandler<Object, String> {
        @Override
        public String handleRequest(Object in, Context c) { throw new IOError(new IOException("disk")); }
    }

    public static class Asserting implements RequestHandler<Object, String> {
        @Override
        public String handleRequest(Object in, Context c) { throw new AssertionError("wrong"); }
    }

    public static class Exits implements RequestHandler<Object, String> {
        @Override
        public String handleRequest(Object in, Context c) { System.out.println("leaving"); System.exit(3); return null; }
    }

    public static class StaticInit implements RequestHandler<Object, String> {
        private static final int N = Integer.parseInt("no number");

        @Override
        public String handleRequest(Object in, Context c) { return "" + N; }
    }

    public static class Constructor implements RequestHandler<Object, String> {
        public Constructor() { throw new IllegalStateException("not made"); }

        @Override
        public String handleRequest(Object in, Context c) { return null; }
    }

    public static class CheckedConstructor implements RequestHandler<Object, String> {
        public CheckedConstructor() throws Exception { throw new Custom("not made", new RuntimeException("inner")); }

        @Override
        public String handleRequest(Object in, Context c) { return null; }
    }

    public static class ConstructorExits {
        public ConstructorExits() { System.exit(5); }
        public String handle() { return null; }
    }

    public static class PrivateConstructor implements RequestHandler<Object, String> {
        private PrivateConstructor() { }

        @Override
        public String handleRequest(Object in, Context c) { return null; }
    }

    public static class Arguments implements RequestHandler<Object, String> {
        public Arguments(String s) { }

        @Override
        public String handleRequest(Object in, Context c) { return null; }
    }

    public class Inner implements RequestHandler<Object, String> {
        @Override
        public String handleRequest(Object in, Context c) { return null; }
    }

    public abstract static class Abstract implements RequestHandler<Object, String> {
    }

    static class NotPublic implements RequestHandler<Object, String> {
        @Override
        public String handleRequest(Object in, Context c) { return "not public"; }
    }

    public static class NoHandler {
    }
}
