package run.hearth.runtime;

import com.amazonaws.lambda.thirdparty.com.google.gson.annotations.SerializedName;
import com.amazonaws.services.lambda.runtime.Client;
import com.amazonaws.services.lambda.runtime.ClientContext;
import com.amazonaws.services.lambda.runtime.CognitoIdentity;
import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.LambdaLogger;
import com.amazonaws.services.lambda.runtime.LambdaRuntime;
import com.amazonaws.services.lambda.runtime.serialization.factories.GsonFactory;
import java.util.Map;

/** The context that a handler gets. */
final class FunctionContext implements Context {
    private static final String LOG_GROUP = System.getenv("AWS_LAMBDA_LOG_GROUP_NAME");
    private static final String LOG_STREAM = System.getenv("AWS_LAMBDA_LOG_STREAM_NAME");
    private static final String NAME = System.getenv("AWS_LAMBDA_FUNCTION_NAME");
    private static final String VERSION = System.getenv("AWS_LAMBDA_FUNCTION_VERSION");
    private static final int MEMORY = memory(System.getenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"));

    private final String id;
    private final String arn;
    private final long deadline;
    private final String tenant;
    private final String trace;
    private final ClientContext client;
    private final CognitoIdentity identity;

    FunctionContext(Event e) {
        id = e.id;
        arn = e.arn;
        deadline = e.deadline;
        tenant = e.tenant;
        trace = e.trace;
        identity = e.identity == null ? null : GsonFactory.getInstance().getSerializer(Identity.class).fromJson(e.identity);
        client = e.clientContext == null ? null : GsonFactory.getInstance().getSerializer(Mobile.class).fromJson(e.clientContext);
    }

    private static int memory(String megabytes) {
        return megabytes == null ? 128 : Integer.parseInt(megabytes);
    }

    /** Whether the event came through AWS's SDK for Android, whose JSON is Gson's. */
    boolean fromAndroid() {
        return client != null && client.getEnvironment() != null && "Android".equalsIgnoreCase(client.getEnvironment().get("platform"));
    }

    @Override
    public String getAwsRequestId() {
        return id;
    }

    @Override
    public String getLogGroupName() {
        return LOG_GROUP;
    }

    @Override
    public String getLogStreamName() {
        return LOG_STREAM;
    }

    @Override
    public String getFunctionName() {
        return NAME;
    }

    @Override
    public String getFunctionVersion() {
        return VERSION;
    }

    @Override
    public String getInvokedFunctionArn() {
        return arn;
    }

    @Override
    public CognitoIdentity getIdentity() {
        return identity;
    }

    @Override
    public ClientContext getClientContext() {
        return client;
    }

    @Override
    public int getRemainingTimeInMillis() {
        return (int) Math.max(0, deadline - System.currentTimeMillis());
    }

    @Override
    public int getMemoryLimitInMB() {
        return MEMORY;
    }

    @Override
    public LambdaLogger getLogger() {
        return LambdaRuntime.getLogger();
    }

    @Override
    public String getTenantId() {
        return tenant;
    }

    @Override
    public String getXrayTraceId() {
        return trace;
    }

    private static final class Identity implements CognitoIdentity {
        private String cognitoIdentityId;
        private String cognitoIdentityPoolId;

        @Override
        public String getIdentityId() {
            return cognitoIdentityId;
        }

        @Override
        public String getIdentityPoolId() {
            return cognitoIdentityPoolId;
        }
    }

    private static final class Mobile implements ClientContext {
        private App client;
        private Map<String, String> custom;
        private Map<String, String> env;

        @Override
        public Client getClient() {
            return client;
        }

        @Override
        public Map<String, String> getCustom() {
            return custom;
        }

        @Override
        public Map<String, String> getEnvironment() {
            return env;
        }
    }

    private static final class App implements Client {
        @SerializedName("installation_id")
        private String installationId;
        @SerializedName("app_title")
        private String title;
        @SerializedName("app_version_name")
        private String versionName;
        @SerializedName("app_version_code")
        private String versionCode;
        @SerializedName("app_package_name")
        private String packageName;

        @Override
        public String getInstallationId() {
            return installationId;
        }

        @Override
        public String getAppTitle() {
            return title;
        }

        @Override
        public String getAppVersionName() {
            return versionName;
        }

        @Override
        public String getAppVersionCode() {
            return versionCode;
        }

        @Override
        public String getAppPackageName() {
            return packageName;
        }
    }
}
