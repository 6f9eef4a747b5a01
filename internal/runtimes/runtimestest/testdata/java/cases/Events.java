package cases;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import com.amazonaws.services.lambda.runtime.events.APIGatewayProxyRequestEvent;
import com.amazonaws.services.lambda.runtime.events.APIGatewayProxyResponseEvent;
import com.amazonaws.services.lambda.runtime.events.APIGatewayV2HTTPEvent;
import com.amazonaws.services.lambda.runtime.events.APIGatewayV2HTTPResponse;
import com.amazonaws.services.lambda.runtime.events.DynamodbEvent;
import com.amazonaws.services.lambda.runtime.events.KinesisEvent;
import com.amazonaws.services.lambda.runtime.events.S3Event;
import com.amazonaws.services.lambda.runtime.events.SNSEvent;
import com.amazonaws.services.lambda.runtime.events.SQSBatchResponse;
import com.amazonaws.services.lambda.runtime.events.SQSEvent;
import com.amazonaws.services.lambda.runtime.events.ScheduledEvent;
import java.util.Collections;

/** Handlers of aws-lambda-java-events; each answers with what it got, and says what it read. */
public class Events {
    public static class Sqs implements RequestHandler<SQSEvent, SQSEvent> {
        @Override
        public SQSEvent handleRequest(SQSEvent e, Context c) {
            SQSEvent.SQSMessage m = e.getRecords().get(0);
            System.out.println(m.getBody() + m.getEventSourceArn() + m.getMessageAttributes());
            return e;
        }
    }

    public static class SqsBatch implements RequestHandler<SQSEvent, SQSBatchResponse> {
        @Override
        public SQSBatchResponse handleRequest(SQSEvent e, Context c) {
            return new SQSBatchResponse(Collections.singletonList(new SQSBatchResponse.BatchItemFailure(e.getRecords().get(0).getMessageId())));
        }
    }

    public static class S3 implements RequestHandler<S3Event, S3Event> {
        @Override
        public S3Event handleRequest(S3Event e, Context c) {
            System.out.println(e.getRecords().get(0).getS3().getObject().getUrlDecodedKey() + e.getRecords().get(0).getEventTime());
            return e;
        }
    }

    public static class Sns implements RequestHandler<SNSEvent, SNSEvent> {
        @Override
        public SNSEvent handleRequest(SNSEvent e, Context c) {
            System.out.println(e.getRecords().get(0).getSNS().getTimestamp());
            return e;
        }
    }

    public static class Kinesis implements RequestHandler<KinesisEvent, KinesisEvent> {
        @Override
        public KinesisEvent handleRequest(KinesisEvent e, Context c) {
            System.out.println(new String(e.getRecords().get(0).getKinesis().getData().array()));
            return e;
        }
    }

    public static class Dynamodb implements RequestHandler<DynamodbEvent, DynamodbEvent> {
        @Override
        public DynamodbEvent handleRequest(DynamodbEvent e, Context c) {
            System.out.println(e.getRecords().get(0).getDynamodb().getNewImage());
            return e;
        }
    }

    public static class Scheduled implements RequestHandler<ScheduledEvent, ScheduledEvent> {
        @Override
        public ScheduledEvent handleRequest(ScheduledEvent e, Context c) {
            System.out.println(e.getTime() + " " + e.getDetailType());
            return e;
        }
    }

    public static class Http implements RequestHandler<APIGatewayV2HTTPEvent, APIGatewayV2HTTPResponse> {
        @Override
        public APIGatewayV2HTTPResponse handleRequest(APIGatewayV2HTTPEvent e, Context c) {
            return APIGatewayV2HTTPResponse.builder().withStatusCode(200).withBody(e.getRequestContext().getHttp().getPath() + e.getHeaders())
                .withHeaders(Collections.singletonMap("a", "b")).build();
        }
    }

    public static class Rest implements RequestHandler<APIGatewayProxyRequestEvent, APIGatewayProxyResponseEvent> {
        @Override
        public APIGatewayProxyResponseEvent handleRequest(APIGatewayProxyRequestEvent e, Context c) {
            return new APIGatewayProxyResponseEvent().withStatusCode(201).withBody(e.getHttpMethod() + e.getRequestContext().getAccountId());
        }
    }
}
