package run.hearth.runtime;

import java.io.Closeable;
import java.io.IOException;

/** The way to the agent. One thread uses it at a time. */
interface Connection extends Closeable {
    /** Waits for the next event; null means that the environment is going. */
    Event next() throws IOException;

    /** Answers the event that next returned last. */
    void respond(Event event, byte[] content, int length) throws IOException;

    /** Fails the event that next returned last; after the last failure the process ends. */
    void fail(Event event, String errorType, byte[] error, boolean last) throws IOException;

    /** Reports that the function could not be loaded. Nothing may be called after it. */
    void failInit(String errorType, byte[] error) throws IOException;
}
