package run.hearth.runtime;

import java.io.BufferedInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;

/** The Runtime API over one kept connection. */
final class Http implements Connection {
    private static final String BASE = "/2018-06-01/runtime/";

    private final String address;
    private Socket socket;
    private InputStream in;

    Http(String address) {
        this.address = address;
    }

    @Override
    public Event next() throws IOException {
        Answer a = exchange("GET", "invocation/next", null, null, 0);
        if (a.status != 200) {
            throw new IOException("the Runtime API answered " + a.status + " to invocation/next");
        }
        Event e = new Event();
        e.id = a.headers.get("lambda-runtime-aws-request-id");
        String deadline = a.headers.get("lambda-runtime-deadline-ms");
        e.deadline = deadline == null ? 0 : Long.parseLong(deadline);
        e.arn = a.headers.get("lambda-runtime-invoked-function-arn");
        e.trace = a.headers.get("lambda-runtime-trace-id");
        e.clientContext = a.headers.get("lambda-runtime-client-context");
        e.identity = a.headers.get("lambda-runtime-cognito-identity");
        e.tenant = a.headers.get("lambda-runtime-aws-tenant-id");
        e.content = a.body;
        return e;
    }

    @Override
    public void respond(Event event, byte[] content, int length) throws IOException {
        post("invocation/" + event.id + "/response", null, content, length);
    }

    @Override
    public void fail(Event event, String errorType, byte[] error, boolean last) throws IOException {
        post("invocation/" + event.id + "/error", errorType, error, error.length);
    }

    @Override
    public void failInit(String errorType, byte[] error) throws IOException {
        post("init/error", errorType, error, error.length);
    }

    private void post(String path, String errorType, byte[] body, int length) throws IOException {
        Answer a = exchange("POST", path, errorType, body, length);
        // 413: the answer was too large, which the agent has told the client.
        if (a.status != 202 && a.status != 413) {
            throw new IOException("the Runtime API answered " + a.status + " to " + path);
        }
    }

    private static final class Answer {
        int status;
        final Map<String, String> headers = new HashMap<>();
        byte[] body;
    }

    private Answer exchange(String method, String path, String errorType, byte[] body, int length) throws IOException {
        if (socket == null) {
            int colon = address.lastIndexOf(':');
            String host = colon < 0 ? address : address.substring(0, colon);
            socket = new Socket(host, colon < 0 ? 80 : Integer.parseInt(address.substring(colon + 1)));
            socket.setTcpNoDelay(true);
            in = new BufferedInputStream(socket.getInputStream(), 16384);
        }
        StringBuilder head = new StringBuilder(256);
        head.append(method).append(' ').append(BASE).append(path).append(" HTTP/1.1\r\nHost: ").append(address)
            .append("\r\nUser-Agent: hearth-java/").append(System.getProperty("java.version")).append("\r\n");
        if (body != null) {
            head.append("Content-Type: application/json\r\nContent-Length: ").append(length).append("\r\n");
        }
        if (errorType != null) {
            head.append("Lambda-Runtime-Function-Error-Type: ").append(errorType.replaceAll("[\r\n]", " ")).append("\r\n");
        }
        byte[] first = head.append("\r\n").toString().getBytes(StandardCharsets.UTF_8);
        byte[] all = new byte[first.length + length];
        System.arraycopy(first, 0, all, 0, first.length);
        if (body != null) {
            System.arraycopy(body, 0, all, first.length, length);
        }
        try {
            socket.getOutputStream().write(all);
            Answer a = read();
            if ("close".equalsIgnoreCase(a.headers.get("connection"))) {
                close();
            }
            return a;
        } catch (IOException e) {
            close();
            throw e;
        }
    }

    private Answer read() throws IOException {
        Answer a = new Answer();
        do {
            String[] status = line().split(" ", 3);
            if (status.length < 2 || !status[0].startsWith("HTTP/1.")) {
                throw new IOException("the Runtime API sent no HTTP: " + String.join(" ", status));
            }
            a.status = Integer.parseInt(status[1]);
            for (String l = line(); !l.isEmpty(); l = line()) {
                int colon = l.indexOf(':');
                if (colon > 0) {
                    a.headers.put(l.substring(0, colon).toLowerCase(Locale.ROOT), l.substring(colon + 1).trim());
                }
            }
        } while (a.status == 100);
        String length = a.headers.get("content-length");
        if ("chunked".equalsIgnoreCase(a.headers.get("transfer-encoding"))) {
            a.body = chunks();
        } else {
            a.body = exactly(length == null ? 0 : Integer.parseInt(length));
        }
        return a;
    }

    private byte[] chunks() throws IOException {
        Buffer all = new Buffer();
        while (true) {
            int n = Integer.parseInt(line().split(";", 2)[0].trim(), 16);
            if (n == 0) {
                break;
            }
            all.write(exactly(n), 0, n);
            line();
        }
        while (!line().isEmpty()) { // trailers
        }
        return all.toByteArray();
    }

    private byte[] exactly(int n) throws IOException {
        byte[] data = new byte[n];
        for (int have = 0; have < n; ) {
            int m = in.read(data, have, n - have);
            if (m < 0) {
                throw new EOFException("the Runtime API ended an answer early");
            }
            have += m;
        }
        return data;
    }

    private String line() throws IOException {
        Buffer b = new Buffer();
        for (int c = in.read(); c != '\n'; c = in.read()) {
            if (c < 0) {
                throw new EOFException("the Runtime API closed the connection");
            }
            if (c != '\r') {
                b.write(c);
            }
        }
        return new String(b.bytes(), 0, b.size(), StandardCharsets.UTF_8);
    }

    @Override
    public void close() throws IOException {
        if (socket != null) {
            socket.close();
            socket = null;
        }
    }
}
