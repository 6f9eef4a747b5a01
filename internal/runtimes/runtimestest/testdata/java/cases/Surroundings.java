package cases;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.LambdaLogger;
import com.amazonaws.services.lambda.runtime.LambdaRuntime;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import com.amazonaws.services.lambda.runtime.logging.LogLevel;
import java.io.File;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.security.Security;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Scanner;
import java.util.logging.Logger;

/** Handlers that look around, and that log. */
public class Surroundings {
    public static class Contexts implements RequestHandler<Object, Map<String, Object>> {
        @Override
        public Map<String, Object> handleRequest(Object in, Context c) {
            Map<String, Object> m = new LinkedHashMap<>();
            m.put("id", c.getAwsRequestId());
            m.put("group", c.getLogGroupName());
            m.put("stream", c.getLogStreamName());
            m.put("name", c.getFunctionName());
            m.put("version", c.getFunctionVersion());
            m.put("arn", c.getInvokedFunctionArn());
            m.put("memory", c.getMemoryLimitInMB());
            m.put("tenant", c.getTenantId());
            m.put("trace", c.getXrayTraceId());
            m.put("left", c.getRemainingTimeInMillis() > 10000);
            m.put("same logger", c.getLogger() == LambdaRuntime.getLogger());
            m.put("property", System.getProperty("com.amazonaws.xray.traceHeader"));
            if (c.getIdentity() != null) {
                m.put("identity", c.getIdentity().getIdentityId() + "/" + c.getIdentity().getIdentityPoolId());
            }
            if (c.getClientContext() != null) {
                m.put("custom", c.getClientContext().getCustom());
                m.put("env", c.getClientContext().getEnvironment());
                if (c.getClientContext().getClient() != null) {
                    m.put("client", c.getClientContext().getClient().getAppTitle() + c.getClientContext().getClient().getInstallationId()
                        + c.getClientContext().getClient().getAppVersionName() + c.getClientContext().getClient().getAppVersionCode()
                        + c.getClientContext().getClient().getAppPackageName());
                }
            }
            return m;
        }
    }

    public static class Machine implements RequestHandler<Object, Map<String, Object>> {
        @Override
        public Map<String, Object> handleRequest(Object in, Context c) {
            Map<String, Object> m = new LinkedHashMap<>();
            m.put("dir", new File(".").getAbsolutePath());
            m.put("user.dir", System.getProperty("user.dir"));
            m.put("encoding", System.getProperty("file.encoding"));
            m.put("locale", Locale.getDefault().toString());
            m.put("zone", java.util.TimeZone.getDefault().getID());
            m.put("ipv4", System.getProperty("java.net.preferIPv4Stack"));
            m.put("ttl", Security.getProperty("networkaddress.cache.negative.ttl"));
            m.put("tls", Security.getProperty("jdk.tls.disabledAlgorithms"));
            m.put("loader", getClass().getClassLoader() == Thread.currentThread().getContextClassLoader());
            m.put("parent", getClass().getClassLoader().getParent() == ClassLoader.getSystemClassLoader());
            m.put("thread", Thread.currentThread().getName());
            InputStream r = getClass().getResourceAsStream("/cases/resource.txt");
            m.put("resource", r == null ? null : new Scanner(r, "UTF-8").nextLine());
            return m;
        }
    }

    public static class Logs implements RequestHandler<Object, String> {
        static {
            System.out.println("static");
            LambdaRuntime.getLogger().log("static logger\n");
        }

        @Override
        public String handleRequest(Object in, Context c) {
            LambdaLogger log = c.getLogger();
            System.out.println("line ünïcödé \ud83d\ude00");
            System.out.print("part, ");
            System.out.print(1);
            System.out.printf(" %s%n", "formatted");
            System.err.println("error");
            log.log("no newline");
            log.log("two\nlines\n");
            log.log((String) null);
            log.log("bytes\n".getBytes(StandardCharsets.UTF_8));
            log.log((byte[]) null);
            for (LogLevel level : LogLevel.values()) {
                log.log(level + " ünï \"q\" \u2028 \u0001\n", level);
            }
            log.log((String) null, LogLevel.ERROR);
            log.log("raw\n".getBytes(StandardCharsets.UTF_8), LogLevel.DEBUG);
            log.log("raw\n".getBytes(StandardCharsets.UTF_8), LogLevel.FATAL);
            return c.getAwsRequestId();
        }
    }

    public static class JavaLogging implements RequestHandler<Object, String> {
        private static final Logger LOG = Logger.getLogger("mine");

        @Override
        public String handleRequest(Object in, Context c) {
            LOG.info("through java.util.logging");
            return "logged";
        }
    }

    public static class Threads implements RequestHandler<Object, String> {
        @Override
        public String handleRequest(Object in, Context c) {
            StringBuffer s = new StringBuffer();
            Thread t = new Thread(() -> s.append("from a thread"));
            t.start();
            try {
                t.join();
            } catch (InterruptedException e) {
                throw new RuntimeException(e);
            }
            Thread.currentThread().interrupt();
            return s.toString();
        }
    }

    public static class Child implements RequestHandler<Object, Integer> {
        @Override
        public Integer handleRequest(Object in, Context c) {
            try {
                return new ProcessBuilder("sh", "-c", "echo child; cat; exit 7").inheritIO().redirectInput(new File("/dev/null")).start().waitFor();
            } catch (Exception e) {
                throw new RuntimeException(e);
            }
        }
    }

    public static class Large implements RequestHandler<String, String> {
        @Override
        public String handleRequest(String in, Context c) {
            StringBuilder s = new StringBuilder(in);
            while (s.length() < 3_000_000) {
                s.append("0123456789");
            }
            return s.toString();
        }
    }
}
