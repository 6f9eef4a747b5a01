package run.hearth.runtime;

import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;

/** The agent's framed socket, as docs/runtimes.md lays it down. */
final class Framed implements Connection {
    private static final int MAX_RESPONSE = 6_291_556;

    private final FileInputStream in;
    private final FileOutputStream out;
    private byte[] buffer = new byte[16384];
    private boolean ready;

    /** Takes an inherited socket: streams of files read and write whatever a descriptor names. */
    Framed(FileDescriptor socket) {
        in = new FileInputStream(socket);
        out = new FileOutputStream(socket);
    }

    @Override
    public Event next() throws IOException {
        if (!ready) {
            ready = true;
            write('N', null, new byte[0], 0);
        }
        int have = fill(0, 4);
        if (have < 4) {
            return null;
        }
        int end = 4 + number(0);
        if (end > buffer.length) {
            byte[] larger = new byte[end];
            System.arraycopy(buffer, 0, larger, 0, have);
            buffer = larger;
        }
        if (fill(have, end) < end) {
            return null;
        }
        int payload = 9 + number(5);
        String[] head = new String(buffer, 9, payload - 9, StandardCharsets.UTF_8).split("\0", -1);
        Event e = new Event();
        e.id = head[0];
        e.deadline = Long.parseLong(head[1]);
        e.arn = text(head[2]);
        e.trace = text(head[3]);
        e.clientContext = text(head[4]);
        e.identity = text(head[5]);
        e.tenant = text(head[6]);
        e.content = new byte[end - payload];
        System.arraycopy(buffer, payload, e.content, 0, e.content.length);
        if (buffer.length > 1 << 20) {
            buffer = new byte[16384];
        }
        return e;
    }

    private static String text(String s) {
        return s.isEmpty() ? null : s;
    }

    private int number(int at) {
        return (buffer[at] & 0xff) << 24 | (buffer[at + 1] & 0xff) << 16 | (buffer[at + 2] & 0xff) << 8 | buffer[at + 3] & 0xff;
    }

    /** Reads until the buffer holds at least enough bytes, or the stream ends. */
    private int fill(int have, int enough) throws IOException {
        while (have < enough) {
            int n = in.read(buffer, have, buffer.length - have);
            if (n < 0) {
                break;
            }
            have += n;
        }
        return have;
    }

    @Override
    public void respond(Event event, byte[] content, int length) throws IOException {
        // One byte more than allowed is enough for the agent to refuse it.
        write('R', null, content, Math.min(length, MAX_RESPONSE + 1));
    }

    @Override
    public void fail(Event event, String errorType, byte[] error, boolean last) throws IOException {
        write(last ? 'D' : 'F', errorType, error, error.length);
    }

    @Override
    public void failInit(String errorType, byte[] error) throws IOException {
        write('I', errorType, error, error.length);
    }

    private void write(char type, String first, byte[] body, int length) throws IOException {
        byte[] head = first == null ? new byte[0] : (first + '\0').getBytes(StandardCharsets.UTF_8);
        int n = 1 + head.length + length;
        byte[] frame = new byte[4 + n];
        frame[0] = (byte) (n >> 24);
        frame[1] = (byte) (n >> 16);
        frame[2] = (byte) (n >> 8);
        frame[3] = (byte) n;
        frame[4] = (byte) type;
        System.arraycopy(head, 0, frame, 5, head.length);
        System.arraycopy(body, 0, frame, 5 + head.length, length);
        out.write(frame);
    }

    @Override
    public void close() throws IOException {
        in.close();
    }
}
