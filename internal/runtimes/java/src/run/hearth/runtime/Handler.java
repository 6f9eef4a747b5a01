package run.hearth.runtime;

import java.io.ByteArrayInputStream;

/** A function's handler, whatever its signature. It may be called by several threads at once. */
interface Handler {
    void handle(ByteArrayInputStream event, Buffer answer, FunctionContext context) throws Throwable;

    /** A handler that can't be used: every event fails in the same way. */
    final class Broken implements Handler {
        final Fault fault;

        Broken(Fault fault) {
            this.fault = fault;
        }

        @Override
        public void handle(ByteArrayInputStream event, Buffer answer, FunctionContext context) {
            throw fault;
        }
    }
}
