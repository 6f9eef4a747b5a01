package run.hearth.runtime;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.Arrays;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.Set;

/** An error of the function as it is reported: what went wrong in its code, or that its handler is not usable. */
final class Fault extends RuntimeException {
    private static final long serialVersionUID = 1;
    private static final String OWN = Fault.class.getName().substring(0, Fault.class.getName().lastIndexOf('.') + 1);

    private final String type;  // or null
    private final String trace; // or null
    final boolean fatal;        // the function can't be used at all

    private Fault(String message, String type, String trace, boolean fatal) {
        super(message, null, false, false);
        this.type = type;
        this.trace = trace;
        this.fatal = fatal;
    }

    static Fault of(String message) {
        return new Fault(message, null, null, false);
    }

    static Fault of(Throwable t, boolean fatal) {
        return t instanceof Fault ? (Fault) t : new Fault(message(t), t.getClass().getName(), trace(t), fatal);
    }

    static Fault loading(Throwable t, String name, boolean fatal) {
        String detail = t.getMessage() == null ? "" : ": " + t.getMessage();
        return new Fault("Error loading class " + name + detail, t.getClass().getName(), trace(t), fatal);
    }

    static Fault loadingMethod(Throwable t, String method, String name) {
        return new Fault("Error loading method " + method + " on class " + name, t.getClass().getName(), trace(t), false);
    }

    static Fault notFound(Throwable t, String name) {
        return new Fault("Class not found: " + name, t.getClass().getName(), trace(t), false);
    }

    /** The text for the log. */
    String report() {
        if (type == null && trace == null) {
            return getMessage() + "\n";
        }
        return getMessage() + ": " + (type == null ? "" : type) + "\n" + (trace == null ? "" : trace) + "\n";
    }

    /** The error payload of a throwable. */
    static byte[] payload(Throwable t) {
        if (t instanceof Fault) {
            return new Json().put("errorMessage", t.getMessage()).put("errorType", ((Fault) t).type).toBytes();
        }
        StackTraceElement[] frames = t.getStackTrace();
        String[] lines = new String[frames.length];
        for (int i = 0; i < lines.length; i++) {
            lines[i] = frames[i].toString();
        }
        return new Json().put("errorMessage", message(t)).put("errorType", t.getClass().getName()).put("stackTrace", lines).toBytes();
    }

    private static String message(Throwable t) {
        return t.getLocalizedMessage() == null ? t.getClass().getName() : t.getLocalizedMessage();
    }

    static String trace(Throwable t) {
        StringWriter text = new StringWriter();
        cut(t).printStackTrace(new PrintWriter(text));
        return text.toString();
    }

    /** Cuts the runtime's own frames, and what is below them, off a throwable and all that hang on it. */
    static <T extends Throwable> T cut(T t) {
        cut(t, Collections.newSetFromMap(new IdentityHashMap<>()));
        return t;
    }

    private static void cut(Throwable t, Set<Throwable> seen) {
        if (t == null || !seen.add(t)) {
            return;
        }
        StackTraceElement[] frames = t.getStackTrace();
        for (int i = 0; i < frames.length; i++) {
            if (frames[i].getClassName().startsWith(OWN)) {
                t.setStackTrace(Arrays.copyOf(frames, i));
                break;
            }
        }
        cut(t.getCause(), seen);
        for (Throwable suppressed : t.getSuppressed()) {
            cut(suppressed, seen);
        }
    }

    /** Throws t as it is, declared or not. */
    @SuppressWarnings("unchecked")
    static <T extends Throwable> RuntimeException raise(Throwable t) throws T {
        throw (T) t;
    }
}
