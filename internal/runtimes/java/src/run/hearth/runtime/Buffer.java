package run.hearth.runtime;

import java.io.ByteArrayOutputStream;

/** An output in memory that gives its bytes without a copy. */
final class Buffer extends ByteArrayOutputStream {
    Buffer() {
        super(1024);
    }

    /** The bytes, of which the first size() count, until the next write. */
    byte[] bytes() {
        return buf;
    }
}
