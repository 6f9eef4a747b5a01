package e2e;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.services.lambda.LambdaClient;
import software.amazon.awssdk.services.lambda.model.ResourceNotFoundException;
import software.amazon.awssdk.services.lambda.model.Runtime;
import software.amazon.awssdk.services.lambda.waiters.LambdaWaiter;

public class Flow {
    static void check(boolean ok, Object what) {
        if (!ok) throw new AssertionError(what);
    }

    public static void main(String[] args) throws Exception {
        SdkBytes zip = SdkBytes.fromByteArray(Files.readAllBytes(Path.of(args[0])));
        try (LambdaClient client = LambdaClient.create(); LambdaWaiter waiter = LambdaWaiter.builder().client(client).build()) {
            var created = client.createFunction(r -> r.functionName("java").runtime(Runtime.fromValue("python3.13")).handler("app.handler")
                    .role("arn:aws:iam::000000000000:role/r").code(c -> c.zipFile(zip)));
            check("Pending".equals(created.stateAsString()), created);
            waiter.waitUntilFunctionActiveV2(r -> r.functionName("java"));
            var answer = client.invoke(r -> r.functionName("java").payload(SdkBytes.fromUtf8String("{\"name\":\"Java\"}")));
            check("{\"hello\": \"Java\", \"v\": 1}".equals(answer.payload().asUtf8String()), answer.payload().asUtf8String());
            client.updateFunctionConfiguration(r -> r.functionName("java").timeout(10).environment(e -> e.variables(Map.of("COLOUR", "blue"))));
            waiter.waitUntilFunctionUpdatedV2(r -> r.functionName("java"));
            client.updateFunctionCode(r -> r.functionName("java").zipFile(zip));
            waiter.waitUntilFunctionUpdatedV2(r -> r.functionName("java"));
            check(client.invoke(r -> r.functionName("java")).statusCode() == 200, "invoke after the update");
            client.deleteFunction(r -> r.functionName("java"));
            try {
                client.invoke(r -> r.functionName("java"));
                check(false, "a deleted function answered");
            } catch (ResourceNotFoundException e) {
                check(e.getMessage().startsWith("Function not found: arn:aws:lambda:us-east-1:000000000000:function:java"), e.getMessage());
            }
        }
        System.out.println("ok");
    }
}
