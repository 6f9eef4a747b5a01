package example;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import com.amazonaws.services.lambda.runtime.events.S3Event;
import java.util.ArrayList;
import java.util.List;

/** Lists the objects that an S3 event tells of. */
public class Handler implements RequestHandler<S3Event, List<String>> {
    @Override
    public List<String> handleRequest(S3Event event, Context context) {
        List<String> objects = new ArrayList<>();
        event.getRecords().forEach(record -> {
            String name = record.getS3().getBucket().getName() + "/" + record.getS3().getObject().getUrlDecodedKey();
            context.getLogger().log(record.getEventName() + " " + name + " at " + record.getEventTime() + "\n");
            objects.add(name);
        });
        return objects;
    }
}
