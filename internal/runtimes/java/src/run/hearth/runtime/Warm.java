package run.hearth.runtime;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import com.amazonaws.services.lambda.runtime.serialization.events.LambdaEventSerializers;
import com.amazonaws.services.lambda.runtime.logging.LogFormat;
import com.amazonaws.services.lambda.runtime.logging.LogLevel;
import java.io.ByteArrayInputStream;
import java.io.FileDescriptor;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;

/** Loads the classes that functions commonly need, for an archive of them that makes starts quick. */
final class Warm {
    private Warm() {
    }

    static void up() throws Throwable {
        ClassLoader classes = new URLClassLoader(new URL[0], Warm.class.getClassLoader());
        Event e = new Event();
        e.id = "id";
        new Framed(FileDescriptor.in);
        new Http("");
        Log log = new Log(LogFormat.TEXT, LogLevel.UNDEFINED, null);
        FunctionContext context = new FunctionContext(e);
        log.enter(context);
        LambdaEventSerializers.isLambdaSupportedEvent("");
        byte[] event = "{\"name\":\"a\",\"n\":1,\"f\":0.5,\"yes\":true,\"list\":[{\"name\":\"b\"}],\"map\":{\"k\":[1,null]}}".getBytes(StandardCharsets.UTF_8);
        for (Class<?> c : new Class<?>[] {Maps.class, Pojos.class}) {
            Handler h = new Loader(classes).load(c.getName());
            h.handle(new ByteArrayInputStream(event), new Buffer(), context);
        }
        Fault.of(new RuntimeException("x", new IllegalStateException()), false).report();
        Fault.payload(new RuntimeException("x"));
    }

    /** A handler of maps. */
    public static final class Maps implements RequestHandler<Map<String, Object>, Map<String, Object>> {
        @Override
        public Map<String, Object> handleRequest(Map<String, Object> input, Context context) {
            return input;
        }
    }

    /** A handler of beans. */
    public static final class Pojos implements RequestHandler<Bean, Bean> {
        @Override
        public Bean handleRequest(Bean input, Context context) {
            return input;
        }
    }

    /** A bean. */
    public static final class Bean {
        private String name;
        private int n;
        private List<Bean> list;
        /** A public field. */
        public boolean yes;

        /** The name. */
        public String getName() {
            return name;
        }

        /** Sets the name. */
        public void setName(String name) {
            this.name = name;
        }

        /** The number. */
        public int getN() {
            return n;
        }

        /** Sets the number. */
        public void setN(int n) {
            this.n = n;
        }

        /** The list. */
        public List<Bean> getList() {
            return list;
        }

        /** Sets the list. */
        public void setList(List<Bean> list) {
            this.list = list;
        }
    }
}
