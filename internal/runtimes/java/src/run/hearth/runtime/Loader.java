package run.hearth.runtime;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import com.amazonaws.services.lambda.runtime.RequestStreamHandler;
import com.amazonaws.services.lambda.runtime.serialization.util.ReflectUtil;
import java.io.InputStream;
import java.io.OutputStream;
import java.lang.reflect.Constructor;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.lang.reflect.TypeVariable;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** Finds the handler that _HANDLER names: a class, or a class and a method. */
final class Loader {
    private static final byte[] NULL = {'n', 'u', 'l', 'l'};

    private final ClassLoader classes;
    private final Serializers serializers;

    Loader(ClassLoader classes) {
        this.classes = classes;
        this.serializers = new Serializers(classes);
    }

    /** Returns the handler, broken or not; it throws a Fault when the function can't be loaded at all. */
    Handler load(String name) {
        int colons = name.lastIndexOf("::");
        String className = colons < 0 ? name : name.substring(0, colons);
        String method = colons < 0 ? null : name.substring(colons + 2);
        if (className.isEmpty() || method != null && method.isEmpty()) {
            return new Handler.Broken(Fault.of("Invalid handler: `" + name + "'"));
        }
        Class<?> c;
        try {
            c = Class.forName(className, true, classes);
        } catch (ClassNotFoundException e) {
            return new Handler.Broken(Fault.notFound(e, className));
        } catch (NoClassDefFoundError e) {
            return new Handler.Broken(Fault.loading(e, className, true));
        } catch (Throwable t) {
            throw Fault.loading(t, className, true);
        }
        Handler h = method == null ? ofClass(c) : ofMethod(c, method);
        if (h instanceof Handler.Broken && ((Handler.Broken) h).fault.fatal) {
            throw ((Handler.Broken) h).fault;
        }
        return h;
    }

    // ---- handler interfaces

    private Handler ofClass(Class<?> c) {
        if (RequestStreamHandler.class.isAssignableFrom(c)) {
            return guarded(() -> stream((RequestStreamHandler) instance(c)));
        }
        if (!RequestHandler.class.isAssignableFrom(c)) {
            return broken("Class does not implement an appropriate handler interface: " + c.getName());
        }
        Type[] types = arguments(c, RequestHandler.class);
        if (types == null) {
            return broken("Class " + c.getName() + " does not implement RequestHandler with concrete type parameters");
        }
        for (Type t : types) {
            if (t instanceof TypeVariable && !bounded((TypeVariable<?>) t)) {
                return broken("Class " + c.getName() + " does not implement RequestHandler with concrete type parameters: parameter "
                    + t + " has no upper bound.");
            }
        }
        return guarded(() -> {
            @SuppressWarnings("unchecked")
            RequestHandler<Object, Object> h = (RequestHandler<Object, Object>) instance(c);
            return objects(types[0], types[1], h::handleRequest);
        });
    }

    private static boolean bounded(TypeVariable<?> t) {
        for (Type bound : t.getBounds()) {
            if (bound != Object.class) {
                return true;
            }
        }
        return false;
    }

    /** The type arguments with which c implements a generic interface, as far as c or its ancestors fix them. */
    private static Type[] arguments(Class<?> c, Class<?> wanted) {
        class Ancestor {
            final Class<?> type;
            final Map<TypeVariable<?>, Type> known;

            Ancestor(Class<?> type, Map<TypeVariable<?>, Type> known) {
                this.type = type;
                this.known = known;
            }
        }
        ArrayDeque<Ancestor> todo = new ArrayDeque<>();
        todo.add(new Ancestor(c, Collections.emptyMap()));
        while (!todo.isEmpty()) {
            Ancestor a = todo.remove();
            List<Type> parents = new ArrayList<>();
            Collections.addAll(parents, a.type.getGenericInterfaces());
            if (a.type.getGenericSuperclass() != null) {
                parents.add(a.type.getGenericSuperclass());
            }
            for (Type parent : parents) {
                if (parent instanceof Class) {
                    todo.add(new Ancestor((Class<?>) parent, Collections.emptyMap()));
                    continue;
                }
                Class<?> raw = (Class<?>) ((ParameterizedType) parent).getRawType();
                Type[] given = ((ParameterizedType) parent).getActualTypeArguments();
                Map<TypeVariable<?>, Type> known = new HashMap<>();
                for (int i = 0; i < given.length; i++) {
                    if (given[i] instanceof TypeVariable) {
                        given[i] = a.known.getOrDefault(given[i], given[i]);
                    }
                    known.put(raw.getTypeParameters()[i], given[i]);
                }
                if (raw.isInterface() && wanted.isAssignableFrom(raw)) {
                    return given;
                }
                todo.add(new Ancestor(raw, known));
            }
        }
        return null;
    }

    // ---- methods

    private Handler ofMethod(Class<?> c, String name) {
        Method[] all;
        try {
            all = c.getMethods();
        } catch (NoClassDefFoundError e) {
            return new Handler.Broken(Fault.loadingMethod(e, name, c.getName()));
        }
        List<Method> named = new ArrayList<>();
        for (Method m : all) {
            if (m.getName().equals(name)) {
                named.add(m);
            }
        }
        // What the compiler made last; the most parameters first, a context counting twice.
        named.sort((a, b) -> a.isBridge() != b.isBridge() ? Boolean.compare(a.isBridge(), b.isBridge()) : weight(b) - weight(a));
        for (Method m : named) {
            Handler h = ofMethod(c, m);
            if (h != null) {
                return h;
            }
        }
        return broken("No public method named " + name + " with appropriate method signature found on class " + c.getName());
    }

    private static int weight(Method m) {
        Class<?>[] p = m.getParameterTypes();
        return p.length + (p.length > 0 && p[p.length - 1] == Context.class ? 1 : 0);
    }

    /** Returns null, and says why on standard error, if m is not a handler's method. */
    private Handler ofMethod(Class<?> c, Method m) {
        Type[] p = m.getGenericParameterTypes();
        int n = p.length;
        if (n > 3) {
            return ignore("an overload of method " + m.getName() + " because it has too many parameters: Expected at most 3, got " + n);
        }
        if (n == 3) {
            if (p[0] == InputStream.class && p[1] == OutputStream.class && p[2] == Context.class) {
                return streamMethod(c, m, true, true, true);
            }
            return ignore("three-argument overload because argument signature is not (InputStream, OutputStream, Context");
        }
        boolean in = n > 0 && p[0] == InputStream.class;
        boolean out = n > 0 && p[0] == OutputStream.class;
        boolean context = n > 0 && p[n - 1] == Context.class;
        if (n == 2) {
            if (out && !context) {
                return ignore("two-argument overload because first argument type is OutputStream and second argument type is not Context");
            }
            if (p[0] == Context.class) {
                return ignore("two-argument overload because first argument type is Context");
            }
            if (in && p[1] == OutputStream.class) {
                return streamMethod(c, m, true, true, false);
            }
            if (in && !context) {
                return ignore("two-argument overload because second parameter type, " + ReflectUtil.getRawClass(p[1]).getName()
                    + ", is not OutputStream.");
            }
            if (!context) {
                return ignore("two-argument overload because second parameter type is not Context");
            }
        }
        if (in || out) {
            return streamMethod(c, m, in, out, context);
        }
        Type event = n == 0 || n == 1 && context ? null : p[0];
        return guarded(() -> {
            Object target = target(c, m);
            return objects(event, m.getGenericReturnType(), (input, ctx) -> {
                Object[] args = new Object[n];
                if (event != null) {
                    args[0] = input;
                }
                if (context) {
                    args[n - 1] = ctx;
                }
                return invoke(m, target, args);
            });
        });
    }

    private Handler streamMethod(Class<?> c, Method m, boolean in, boolean out, boolean context) {
        return guarded(() -> {
            if (!isVoid(m.getReturnType())) {
                System.err.println("Will ignore return type " + m.getReturnType() + " on byte stream handler");
            }
            Object target = target(c, m);
            return stream((input, output, ctx) -> {
                List<Object> args = new ArrayList<>(3);
                if (in) {
                    args.add(input);
                }
                if (out) {
                    args.add(output);
                }
                if (context) {
                    args.add(ctx);
                }
                invoke(m, target, args.toArray());
                if (!out) {
                    output.write(NULL);
                }
            });
        });
    }

    private static Handler ignore(String what) {
        System.err.println("Ignoring " + what);
        return null;
    }

    private static Object target(Class<?> c, Method m) throws Exception {
        return Modifier.isStatic(m.getModifiers()) ? null : instance(c);
    }

    private static Object invoke(Method m, Object target, Object[] args) {
        try {
            return m.invoke(target, args);
        } catch (InvocationTargetException e) {
            throw Fault.raise(e.getCause() == null ? e : e.getCause());
        } catch (Throwable t) {
            throw Fault.raise(t);
        }
    }

    // ---- what all have in common

    private interface Making {
        Handler make() throws Throwable;
    }

    private static Handler guarded(Making m) {
        try {
            return m.make();
        } catch (Throwable t) {
            return new Handler.Broken(Fault.of(t, false));
        }
    }

    private static Handler broken(String message) {
        return new Handler.Broken(Fault.of(message));
    }

    private static Object instance(Class<?> c) throws Exception {
        Constructor<?> constructor;
        try {
            constructor = c.getConstructor();
        } catch (NoSuchMethodException e) {
            if (c.getEnclosingClass() != null && !Modifier.isStatic(c.getModifiers())) {
                throw new Exception("Class " + c.getName() + " cannot be instantiated because it is a non-static inner class");
            }
            throw new Exception("Class " + c.getName() + " has no public zero-argument constructor", e);
        }
        try {
            return constructor.newInstance();
        } catch (InvocationTargetException e) {
            throw Fault.of(e.getCause() == null ? e : e.getCause(), true);
        }
    }

    private static boolean isVoid(Type t) {
        return t == void.class || t == Void.class;
    }

    private static Handler stream(RequestStreamHandler h) {
        return (event, answer, context) -> h.handleRequest(event, answer, context);
    }

    private interface Objects {
        Object handle(Object input, Context context) throws Throwable;
    }

    /** A handler of objects: event is null if it takes none. */
    private Handler objects(Type event, Type result, Objects h) {
        boolean none = result == null || isVoid(result);
        // A type that has no serializer is an error of the function's, found now.
        if (event != null) {
            serializers.of(event, false);
        }
        if (!none) {
            serializers.of(result, false);
        }
        return (in, answer, context) -> {
            boolean android = context.fromAndroid();
            Object input = null;
            if (event != null) {
                try {
                    input = serializers.of(event, android).fromJson(in);
                } catch (Throwable t) {
                    throw new RuntimeException("An error occurred during JSON parsing", t);
                }
            }
            Object output = h.handle(input, context);
            if (none) {
                answer.write(NULL, 0, NULL.length);
                return;
            }
            try {
                serializers.of(result, android).toJson(output, answer);
            } catch (Throwable t) {
                throw new RuntimeException("An error occurred during JSON serialization of response", t);
            }
        };
    }
}
