package run.hearth.runtime;

/** An event and its head, as the agent gave it. Texts that it lacks are null. */
final class Event {
    String id;
    long deadline; // Unix milliseconds
    String arn;
    String trace;
    String clientContext;
    String identity;
    String tenant;
    byte[] content;
}
