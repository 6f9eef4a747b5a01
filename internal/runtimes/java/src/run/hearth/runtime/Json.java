package run.hearth.runtime;

import java.nio.charset.StandardCharsets;

/** Writes the JSON of errors and log records, escaped as Gson does without its HTML rules. */
final class Json {
    private final StringBuilder out = new StringBuilder("{");

    /** Adds a member, unless value is null. */
    Json put(String name, String value) {
        if (value != null) {
            name(name);
            quote(value);
        }
        return this;
    }

    Json put(String name, String[] values) {
        if (values != null) {
            name(name);
            out.append('[');
            for (int i = 0; i < values.length; i++) {
                if (i > 0) {
                    out.append(',');
                }
                quote(values[i]);
            }
            out.append(']');
        }
        return this;
    }

    private void name(String name) {
        if (out.length() > 1) {
            out.append(',');
        }
        quote(name);
        out.append(':');
    }

    private void quote(String s) {
        out.append('"');
        for (int i = 0; i < s.length(); i++) {
            char c = s.charAt(i);
            switch (c) {
                case '"': out.append("\\\""); break;
                case '\\': out.append("\\\\"); break;
                case '\t': out.append("\\t"); break;
                case '\b': out.append("\\b"); break;
                case '\n': out.append("\\n"); break;
                case '\r': out.append("\\r"); break;
                case '\f': out.append("\\f"); break;
                default:
                    if (c < 0x20 || c == 0x2028 || c == 0x2029) {
                        out.append("\\u").append(Integer.toHexString(0x10000 | c), 1, 5);
                    } else {
                        out.append(c);
                    }
            }
        }
        out.append('"');
    }

    @Override
    public String toString() {
        return out + "}";
    }

    byte[] toBytes() {
        return toString().getBytes(StandardCharsets.UTF_8);
    }
}
