package cases;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestStreamHandler;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.Scanner;

/** Handlers that are methods, of every signature. */
public class Methods {
    private int calls;

    private static String read(InputStream in) {
        Scanner s = new Scanner(in, "UTF-8").useDelimiter("\\A");
        return s.hasNext() ? s.next() : "";
    }

    public static class Stream implements RequestStreamHandler {
        @Override
        public void handleRequest(InputStream in, OutputStream out, Context c) throws IOException {
            out.write(("not json: " + read(in) + "\u00e9").getBytes(StandardCharsets.UTF_8));
        }
    }

    public static class Silent implements RequestStreamHandler {
        @Override
        public void handleRequest(InputStream in, OutputStream out, Context c) {
        }
    }

    public String none() { return "none " + ++calls; }
    public String event(String e) { return "event " + e; }
    public String context(Context c) { return "context " + c.getFunctionName(); }
    public String both(Map<String, Integer> e, Context c) { return "both " + e + c.getFunctionName(); }
    public void nothing(Object e) { }
    public int primitive(int e) { return e * 2; }
    public long[] array(List<Long> e) { return new long[] {e.size(), e.get(0)}; }
    public static String fixed(Object e) { return "static " + e; }
    public void in(InputStream in) { System.out.println("in " + read(in)); }
    public void out(OutputStream out) throws IOException { out.write('1'); }
    public String inOut(InputStream in, OutputStream out) throws IOException { out.write(read(in).getBytes()); return "ignored"; }
    public void inContext(InputStream in, Context c) { System.out.println(c.getFunctionVersion() + read(in)); }
    public void outContext(OutputStream out, Context c) throws IOException { out.write('2'); }
    public static void all(InputStream in, OutputStream out, Context c) throws IOException { out.write(read(in).getBytes()); }
    public String wrongOrder(Context c, String e) { return "never"; }
    public String twoEvents(String a, String b) { return "never"; }
    public void outNoContext(OutputStream out, String e) { }
    public void inNoOut(InputStream in, String e) { }
    public void three(String a, String b, Context c) { }
    public void four(String a, String b, String c, Context d) { }
    public String overloaded() { return "0"; }
    public String overloaded(Map<String, Object> e) { return "1"; }
    public String overloaded(Map<String, Object> e, Context c) { return "2"; }
    public String overloaded(String a, String b, String c, String d) { return "4"; }
    private String hidden() { return "never"; }
    String throwing(Object e) { return "never"; }
    public String fails(Object e) { throw new IllegalArgumentException("from a method"); }
    public static void failsStatic(InputStream in, OutputStream out) throws IOException { throw new IOException("stream"); }
}
