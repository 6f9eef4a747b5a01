package run.hearth.runtime;

import com.amazonaws.services.lambda.runtime.CustomPojoSerializer;
import com.amazonaws.services.lambda.runtime.serialization.PojoSerializer;
import com.amazonaws.services.lambda.runtime.serialization.events.LambdaEventSerializers;
import com.amazonaws.services.lambda.runtime.serialization.factories.GsonFactory;
import com.amazonaws.services.lambda.runtime.serialization.factories.JacksonFactory;
import java.io.InputStream;
import java.io.OutputStream;
import java.lang.reflect.Type;
import java.util.Iterator;
import java.util.Map;
import java.util.ServiceLoader;
import java.util.concurrent.ConcurrentHashMap;

/**
 * Finds what reads and writes a type: the function's own serializer if it brings one, else
 * AWS's for the types of aws-lambda-java-events, else Jackson, or Gson for Android clients.
 */
final class Serializers {
    private final ClassLoader function;
    private final Map<Type, PojoSerializer<Object>> usual = new ConcurrentHashMap<>();
    private final Map<Type, PojoSerializer<Object>> android = new ConcurrentHashMap<>();
    private CustomPojoSerializer own;
    private boolean searched;

    Serializers(ClassLoader function) {
        this.function = function;
    }

    PojoSerializer<Object> of(Type type, boolean forAndroid) {
        Map<Type, PojoSerializer<Object>> cache = forAndroid ? android : usual;
        PojoSerializer<Object> s = cache.get(type);
        if (s == null) {
            s = find(type, forAndroid);
            cache.put(type, s);
        }
        return s;
    }

    @SuppressWarnings("unchecked")
    private PojoSerializer<Object> find(Type type, boolean forAndroid) {
        CustomPojoSerializer custom = own();
        if (custom != null) {
            return new Custom(custom, type);
        }
        if (type instanceof Class && LambdaEventSerializers.isLambdaSupportedEvent(((Class<?>) type).getName())) {
            return LambdaEventSerializers.serializerFor((Class<Object>) type, function);
        }
        return forAndroid ? GsonFactory.getInstance().getSerializer(type) : JacksonFactory.getInstance().getSerializer(type);
    }

    private synchronized CustomPojoSerializer own() {
        if (!searched) {
            Iterator<CustomPojoSerializer> found = ServiceLoader.load(CustomPojoSerializer.class, function).iterator();
            if (found.hasNext()) {
                own = found.next();
                if (found.hasNext()) {
                    throw new IllegalStateException("Too many serializers provided inside the META-INF/services folder, only one is allowed");
                }
            }
            searched = true;
        }
        return own;
    }

    private static final class Custom implements PojoSerializer<Object> {
        private final CustomPojoSerializer inner;
        private final Type type;

        Custom(CustomPojoSerializer inner, Type type) {
            this.inner = inner;
            this.type = type;
        }

        @Override
        public Object fromJson(InputStream input) {
            return inner.fromJson(input, type);
        }

        @Override
        public Object fromJson(String input) {
            return inner.fromJson(input, type);
        }

        @Override
        public void toJson(Object value, OutputStream output) {
            inner.toJson(value, output, type);
        }
    }
}
