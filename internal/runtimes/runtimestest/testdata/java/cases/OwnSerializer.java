package cases;

import com.amazonaws.services.lambda.runtime.CustomPojoSerializer;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.lang.reflect.Type;

/** A serializer that a function brings. */
public class OwnSerializer implements CustomPojoSerializer {
    @Override
    @SuppressWarnings("unchecked")
    public <T> T fromJson(InputStream in, Type type) {
        return (T) ("own " + type);
    }

    @Override
    @SuppressWarnings("unchecked")
    public <T> T fromJson(String in, Type type) {
        return (T) ("own " + type);
    }

    @Override
    public <T> void toJson(T value, OutputStream out, Type type) {
        try {
            out.write(("{\"own\":\"" + value + "\"}").getBytes());
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
