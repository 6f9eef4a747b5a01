package run.hearth.runtime;

import com.amazonaws.services.lambda.runtime.LambdaLogger;
import com.amazonaws.services.lambda.runtime.logging.LogFormat;
import com.amazonaws.services.lambda.runtime.logging.LogLevel;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.LocalDateTime;

/** The function's LambdaLogger: to the telemetry pipe, or to standard output. */
final class Log implements LambdaLogger {
    private static final byte[] NULL = {'n', 'u', 'l', 'l'};

    private final LogFormat format;
    private final LogLevel least;
    private final OutputStream telemetry; // or null
    private final ThreadLocal<FunctionContext> context = new ThreadLocal<>();

    Log(LogFormat format, LogLevel least, FileDescriptor telemetry) {
        this.format = format;
        this.least = least;
        this.telemetry = telemetry == null ? null : new FileOutputStream(telemetry);
    }

    /** Names the event that records of this thread belong to. */
    void enter(FunctionContext c) {
        context.set(c);
    }

    /** Logs an error of the runtime or the function. */
    void error(String message) {
        log(message, format == LogFormat.JSON ? LogLevel.ERROR : LogLevel.UNDEFINED);
    }

    void info(String message) {
        log(message, format == LogFormat.JSON ? LogLevel.INFO : LogLevel.UNDEFINED);
    }

    @Override
    public void log(String message) {
        log(message, LogLevel.UNDEFINED);
    }

    @Override
    public void log(byte[] message) {
        log(message, LogLevel.UNDEFINED);
    }

    @Override
    public void log(String message, LogLevel level) {
        if (!enabled(level)) {
            return;
        }
        String text = message;
        if (format == LogFormat.JSON) {
            text = structured(message, level);
        } else if (level != LogLevel.UNDEFINED) {
            text = "[" + level + "] " + message;
        }
        write(text == null ? null : text.getBytes(StandardCharsets.UTF_8), level);
    }

    @Override
    public void log(byte[] message, LogLevel level) {
        if (enabled(level)) {
            write(message, level);
        }
    }

    private boolean enabled(LogLevel level) {
        return level == LogLevel.UNDEFINED || level.ordinal() >= least.ordinal();
    }

    private String structured(String message, LogLevel level) {
        Json record = new Json().put("timestamp", timestamp(LocalDateTime.now())).put("message", message).put("level", level.name());
        FunctionContext c = context.get();
        if (c != null) {
            record.put("AWSRequestId", c.getAwsRequestId()).put("tenantId", c.getTenantId());
        }
        return record + "\n";
    }

    private static String timestamp(LocalDateTime t) {
        StringBuilder s = new StringBuilder(24);
        digits(s, t.getYear(), 4).append('-');
        digits(s, t.getMonthValue(), 2).append('-');
        digits(s, t.getDayOfMonth(), 2).append('T');
        digits(s, t.getHour(), 2).append(':');
        digits(s, t.getMinute(), 2).append(':');
        digits(s, t.getSecond(), 2).append('.');
        return digits(s, t.getNano() / 1_000_000, 3).append('Z').toString();
    }

    private static StringBuilder digits(StringBuilder s, int n, int width) {
        String text = Integer.toString(n);
        for (int i = text.length(); i < width; i++) {
            s.append('0');
        }
        return s.append(text);
    }

    private synchronized void write(byte[] message, LogLevel level) {
        byte[] m = message == null ? NULL : message;
        try {
            if (telemetry == null) {
                System.out.write(m);
                return;
            }
            Instant now = Instant.now();
            long micros = now.getEpochSecond() * 1_000_000 + now.getNano() / 1000;
            byte[] frame = new byte[16 + m.length];
            // The type says format and level, and that there is a time.
            put(frame, 0, 0xa55a0002 | level.ordinal() << 2 | format.ordinal());
            put(frame, 4, m.length);
            put(frame, 8, (int) (micros >> 32));
            put(frame, 12, (int) micros);
            System.arraycopy(m, 0, frame, 16, m.length);
            telemetry.write(frame);
        } catch (IOException e) {
            e.printStackTrace();
        }
    }

    private static void put(byte[] to, int at, int n) {
        to[at] = (byte) (n >> 24);
        to[at + 1] = (byte) (n >> 16);
        to[at + 2] = (byte) (n >> 8);
        to[at + 3] = (byte) n;
    }
}
