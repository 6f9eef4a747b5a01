package run.hearth.runtime;

import com.amazonaws.services.lambda.runtime.LambdaLogger;
import com.amazonaws.services.lambda.runtime.LambdaRuntime;
import com.amazonaws.services.lambda.runtime.LambdaRuntimeInternal;
import com.amazonaws.services.lambda.runtime.logging.LogFormat;
import com.amazonaws.services.lambda.runtime.logging.LogLevel;
import java.io.ByteArrayInputStream;
import java.io.File;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FilterOutputStream;
import java.io.IOError;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.Constructor;
import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.net.MalformedURLException;
import java.net.URL;
import java.net.URLClassLoader;
import java.security.Security;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Properties;

/**
 * Hearth's Java runtime: it loads the function's handler and serves events. What a function sees is
 * what AWS's runtime shows it; how values become JSON is AWS's own library.
 */
public final class Main {
    private static final String BAD_CODE = "Runtime.BadFunctionCode";
    private static final String USER_EXCEPTION = "Runtime.UserException";
    private static final String CACERTS = "/etc/pki/java/cacerts";

    private final Log log;
    private final ClassLoader classes;
    private Handler handler;

    private Main(Log log, ClassLoader classes) {
        this.log = log;
        this.classes = classes;
    }

    /** Serves the function of the environment. With the one argument "warm" it only loads what functions commonly need. */
    public static void main(String[] args) throws Throwable {
        if (args.length == 1 && args[0].equals("warm")) {
            Warm.up();
            return;
        }
        setProperties();
        silenceReflectionWarnings();
        String threads = System.getenv("AWS_LAMBDA_MAX_CONCURRENCY");
        Connection connection = connect(threads != null);
        Log log = new Log(LogFormat.fromString(or(System.getenv("AWS_LAMBDA_LOG_FORMAT"), "TEXT")),
            LogLevel.fromString(or(System.getenv("AWS_LAMBDA_LOG_LEVEL"), "UNDEFINED")), descriptor(System.getenv("_LAMBDA_TELEMETRY_LOG_FD")));
        // Standard output keeps nothing back, and is UTF-8 whatever the locale.
        System.setOut(new PrintStream(new Passing(System.out), false, "UTF-8"));
        System.setErr(new PrintStream(new Passing(System.err), false, "UTF-8"));
        setLogger(log);
        ClassLoader classes = new URLClassLoader(path(), ClassLoader.getSystemClassLoader());
        Thread.currentThread().setContextClassLoader(classes);
        Main m = new Main(log, classes);
        try {
            m.handler = new Loader(classes).load(or(System.getenv("_HANDLER"), ""));
        } catch (Fault f) {
            log.error(f.report());
            connection.failInit(BAD_CODE, Fault.payload(f));
            System.exit(1);
        }
        if (threads != null) {
            m.serveConcurrently(threads);
        } else {
            m.serve(connection);
        }
    }

    private static String or(String value, String fallback) {
        return value == null ? fallback : value;
    }

    private static void setProperties() {
        Security.setProperty("jdk.tls.disabledAlgorithms",
            "SSLv3, RC4, MD5withRSA, DH keySize < 1024, EC keySize < 224, DES40_CBC, RC4_40, 3DES_EDE_CBC");
        if (System.getProperty("javax.net.ssl.trustStore") == null && new File(CACERTS).isFile()) {
            System.setProperty("javax.net.ssl.trustStore", CACERTS);
        }
        String ttl = "networkaddress.cache.negative.ttl";
        Properties own = new Properties();
        String file = System.getProperty("java.security.properties");
        if (file != null) {
            try (InputStream in = new FileInputStream(file)) {
                own.load(in);
            } catch (IOException e) {
                own.clear(); // as if there were none
            }
        }
        if (!own.containsKey(ttl)) {
            Security.setProperty(ttl, or(System.getenv("AWS_LAMBDA_JAVA_NETWORKADDRESS_CACHE_NEGATIVE_TTL"), "1"));
        }
    }

    /** Chooses between the framed socket and the Runtime API. */
    private static Connection connect(boolean concurrent) {
        String api = System.getenv("AWS_LAMBDA_RUNTIME_API");
        if (!concurrent && api != null && api.equals(System.getenv("_HEARTH_RUNTIME_API"))) {
            FileDescriptor socket = descriptor(System.getenv("_HEARTH_FD"));
            if (socket != null) {
                return new Framed(socket);
            }
        }
        return new Http(api);
    }

    /**
     * An inherited descriptor, or null if number names none that is open. Java has no public way to
     * take one over; the manifest of this jar opens java.io to it.
     */
    private static FileDescriptor descriptor(String number) {
        if (number == null || new File("/dev/fd").isDirectory() && !new File("/dev/fd", number).exists()) {
            return null;
        }
        try {
            Constructor<FileDescriptor> c = FileDescriptor.class.getDeclaredConstructor(int.class);
            c.setAccessible(true);
            return c.newInstance(Integer.parseInt(number));
        } catch (ReflectiveOperationException | RuntimeException e) {
            return null;
        }
    }

    private static URL[] path() throws MalformedURLException {
        String root = or(System.getenv("LAMBDA_TASK_ROOT"), System.getProperty("user.dir"));
        List<URL> urls = new ArrayList<>();
        urls.add(new URL("file", null, -1, root + "/"));
        addJars(urls, new File(root, "lib"));
        addJars(urls, new File(or(System.getenv("_HEARTH_OPT"), "/opt"), "java/lib"));
        return urls.toArray(new URL[0]);
    }

    private static void addJars(List<URL> urls, File dir) throws MalformedURLException {
        String[] names = dir.list((d, name) -> name.length() > 4 && name.endsWith(".jar"));
        if (names == null) {
            return;
        }
        Arrays.sort(names);
        for (String name : names) {
            urls.add(new URL("file", null, -1, dir.getPath() + "/" + name));
        }
    }

    private static void setLogger(LambdaLogger log) throws ReflectiveOperationException {
        Field f = LambdaRuntime.class.getDeclaredField("logger");
        f.setAccessible(true);
        f.set(null, log);
    }

    /** Java 9 to 15 warn on standard error of reflection that later ones refuse; AWS's runtime silences them. */
    private static void silenceReflectionWarnings() {
        String version = System.getProperty("java.specification.version");
        if (!version.equals("9") && !version.matches("1[0-5]")) {
            return;
        }
        try {
            Class<?> unsafe = Class.forName("sun.misc.Unsafe");
            Field the = unsafe.getDeclaredField("theUnsafe");
            the.setAccessible(true);
            Object u = the.get(null);
            Class<?> logger = Class.forName("jdk.internal.module.IllegalAccessLogger");
            Field f = logger.getDeclaredField("logger");
            Object offset = unsafe.getMethod("staticFieldOffset", Field.class).invoke(u, f);
            unsafe.getMethod("putObjectVolatile", Object.class, long.class, Object.class).invoke(u, logger, offset, null);
        } catch (ReflectiveOperationException | RuntimeException e) {
            return; // The warnings stay.
        }
    }

    // ---- events

    private void serve(Connection connection) throws IOException {
        Buffer answer = new Buffer();
        while (true) {
            Event e = connection.next();
            if (e == null) {
                System.exit(0);
            }
            if (e.trace == null) {
                System.clearProperty("com.amazonaws.xray.traceHeader");
            } else {
                System.setProperty("com.amazonaws.xray.traceHeader", e.trace);
            }
            if (!serve(connection, e, answer, true)) {
                System.exit(0); // The agent starts another.
            }
            if (answer.size() > 1 << 20) {
                answer = new Buffer();
            }
        }
    }

    /** Serves one event; returns false when the process must end, as it may if it is the only one to serve. */
    private boolean serve(Connection connection, Event e, Buffer answer, boolean only) throws IOException {
        answer.reset();
        try {
            FunctionContext context = new FunctionContext(e);
            log.enter(context);
            if (LambdaRuntimeInternal.getUseLog4jAppender()) {
                tellLog4j(e.id);
            }
            handler.handle(new ByteArrayInputStream(e.content), answer, context);
        } catch (Throwable t) {
            // The log comes first, for the agent ends the event with its answer.
            Fault f = Fault.of(Fault.cut(t), false);
            log.error(f.report());
            boolean last = only && (t instanceof VirtualMachineError || t instanceof IOError || f.fatal);
            connection.fail(e, t instanceof Fault ? BAD_CODE : USER_EXCEPTION, Fault.payload(t), last);
            return !last;
        }
        connection.respond(e, answer.bytes(), answer.size());
        Thread.interrupted(); // which the function may have left set
        return true;
    }

    /** The request ID for the patterns of log4j 1 and 2, whose appender of AWS asks for it. */
    private void tellLog4j(String id) {
        boolean told = put("org.apache.log4j.MDC", Object.class, id);
        told |= put("org.apache.logging.log4j.ThreadContext", String.class, id);
        if (!told) {
            System.err.println("Customer using log4j appender but unable to load either org.apache.log4j.MDC"
                + " or org.apache.logging.log4j.ThreadContext. Customer cannot see RequestId in log4j log lines.");
        }
    }

    private boolean put(String map, Class<?> value, String id) {
        try {
            Method m = Class.forName(map, true, classes).getMethod("put", String.class, value);
            m.invoke(null, "AWSRequestId", id);
            return true;
        } catch (ReflectiveOperationException | LinkageError e) {
            return false; // The function has the other one.
        }
    }

    // ---- several events at once

    private void serveConcurrently(String threads) throws InterruptedException {
        int n;
        try {
            n = Integer.parseInt(threads);
        } catch (NumberFormatException e) {
            log.error("User configured AWS_LAMBDA_MAX_CONCURRENCY is invalid.\n" + Fault.trace(e));
            throw e;
        }
        log.info("Starting " + n + " concurrent function handler threads.");
        List<Thread> all = new ArrayList<>();
        for (int i = 0; i < Math.max(1, n); i++) {
            Thread t = new Thread(this::work, "handler-" + i);
            t.setContextClassLoader(classes);
            t.start();
            all.add(t);
        }
        for (Thread t : all) {
            t.join();
        }
    }

    /** One thread's events, on the thread's own connection, until the Runtime API fails five times in a row. */
    private void work() {
        Connection connection = new Http(System.getenv("AWS_LAMBDA_RUNTIME_API"));
        Buffer answer = new Buffer();
        XRay xray = new XRay(classes);
        int failures = 0;
        while (failures < 5) {
            Event e = null;
            try {
                e = connection.next();
                failures = 0;
                xray.enter(e.trace);
                serve(connection, e, answer, false);
                xray.leave();
            } catch (Throwable t) {
                log.error("Runtime Loop on Thread ID: " + Thread.currentThread().getName()
                    + (e == null ? " Failed to fetch next invocation.\n" : " Faced and Exception. This exception will not stop the runtime loop.\nException:\n")
                    + Fault.trace(t));
                if (e == null && ++failures > 1) {
                    pause(100L << failures);
                }
            }
        }
    }

    private static void pause(long millis) {
        try {
            Thread.sleep(millis);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    /** The trace ID of a thread, where the AWS SDK of the function looks for it. */
    private static final class XRay {
        private static final String KEY = "AWS_LAMBDA_X_TRACE_ID";

        private final Method put; // or null: the function brings no SDK that would look
        private final Method remove;

        XRay(ClassLoader classes) {
            Method p = null;
            Method r = null;
            try {
                Class<?> local = Class.forName("software.amazon.awssdk.utilslite.SdkInternalThreadLocal", true, classes);
                p = local.getMethod("put", String.class, String.class);
                r = local.getMethod("remove", String.class);
            } catch (ReflectiveOperationException | LinkageError e) {
                p = null;
            }
            put = p;
            remove = r;
        }

        void enter(String trace) throws ReflectiveOperationException {
            if (put != null && trace != null) {
                put.invoke(null, KEY, trace);
            }
        }

        void leave() throws ReflectiveOperationException {
            if (put != null) {
                remove.invoke(null, KEY);
            }
        }
    }

    /** Passes bytes on in whole. */
    private static final class Passing extends FilterOutputStream {
        Passing(OutputStream out) {
            super(out);
        }

        @Override
        public void write(byte[] b, int off, int len) throws IOException {
            out.write(b, off, len);
        }
    }
}
