// Spring AMQP: its admin, template with correlated confirms and returns, listener containers, dead letters, requests.

import java.util.List;
import java.util.Objects;
import java.util.UUID;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.springframework.amqp.AmqpRejectAndDontRequeueException;
import org.springframework.amqp.core.AcknowledgeMode;
import org.springframework.amqp.core.BindingBuilder;
import org.springframework.amqp.core.Message;
import org.springframework.amqp.core.MessageListener;
import org.springframework.amqp.core.Queue;
import org.springframework.amqp.core.QueueBuilder;
import org.springframework.amqp.core.TopicExchange;
import org.springframework.amqp.rabbit.connection.CachingConnectionFactory;
import org.springframework.amqp.rabbit.connection.CorrelationData;
import org.springframework.amqp.rabbit.core.RabbitAdmin;
import org.springframework.amqp.rabbit.core.RabbitTemplate;
import org.springframework.amqp.rabbit.listener.DirectMessageListenerContainer;
import org.springframework.amqp.rabbit.listener.SimpleMessageListenerContainer;
import org.springframework.amqp.rabbit.listener.adapter.MessageListenerAdapter;

public class SpringAmqp {
    static int checks;

    static void check(String what, Object found, Object expected) {
        if (!Objects.equals(found, expected)) {
            throw new AssertionError(what + ": " + found + " instead of " + expected);
        }
        checks += 1;
    }

    static <T> T within(String what, BlockingQueue<T> queue) throws InterruptedException {
        T found = queue.poll(15, TimeUnit.SECONDS);
        if (found == null) throw new AssertionError(what + ": not within 15 s");
        return found;
    }

    static class Greeter {
        public String greet(String word) { return "hello " + word; }
    }

    public static void main(String[] arguments) {
        try {
            run();
            System.out.println(checks + " checks");
            System.exit(0);
        } catch (Throwable error) {
            error.printStackTrace();
            System.exit(1);
        }
    }

    static void run() throws Exception {
        String[] address = System.getenv().getOrDefault("CROSSDOCK_AMQP", "127.0.0.1:5672").split(":");
        CachingConnectionFactory factory = new CachingConnectionFactory(address[0], Integer.parseInt(address[1]));
        factory.setPublisherConfirmType(CachingConnectionFactory.ConfirmType.CORRELATED);
        factory.setPublisherReturns(true);
        RabbitAdmin admin = new RabbitAdmin(factory);
        String name = "spring-" + UUID.randomUUID();
        TopicExchange exchange = new TopicExchange(name + "-x");
        Queue dead = QueueBuilder.nonDurable(name + "-dead").build();
        Queue queue = QueueBuilder.durable(name).quorum().deliveryLimit(3).deadLetterExchange("").deadLetterRoutingKey(dead.getName()).build();
        admin.declareExchange(exchange);
        admin.declareQueue(dead);
        admin.declareQueue(queue);
        admin.declareBinding(BindingBuilder.bind(queue).to(exchange).with("a.*"));
        check("the admin looks", admin.getQueueInfo(name).getMessageCount(), 0L);

        RabbitTemplate template = new RabbitTemplate(factory);
        template.setMandatory(true);
        CorrelationData taken = new CorrelationData("taken"), lost = new CorrelationData("lost");
        template.convertAndSend(exchange.getName(), "a.b", "first", taken);
        check("a confirm", taken.getFuture().get(10, TimeUnit.SECONDS).ack(), true);
        template.convertAndSend(exchange.getName(), "nobody", "lost", lost);
        check("what nobody gets is confirmed", lost.getFuture().get(10, TimeUnit.SECONDS).ack(), true);
        check("and was returned before", lost.getReturned() == null ? 0 : lost.getReturned().getReplyCode(), 312);

        List<String> seen = new CopyOnWriteArrayList<>();
        BlockingQueue<String> good = new LinkedBlockingQueue<>();
        SimpleMessageListenerContainer container = new SimpleMessageListenerContainer(factory);
        container.setQueueNames(name);
        container.setConcurrentConsumers(2);
        container.setPrefetchCount(5);
        container.setMessageListener((MessageListener) message -> {
            String text = new String(message.getBody());
            seen.add(text);
            if (text.equals("never")) throw new AmqpRejectAndDontRequeueException("as it should");
            if (text.equals("flaky") && !message.getMessageProperties().isRedelivered()) throw new IllegalStateException("again");
            good.add(text);
        });
        container.afterPropertiesSet();
        container.start();
        check("a listener", within("a message", good), "first");
        template.convertAndSend(exchange.getName(), "a.b", "never");
        Message letter = null;
        for (int n = 0; letter == null && n < 20; n += 1) letter = template.receive(dead.getName(), 500);
        check("what is rejected is dead", letter == null ? null : new String(letter.getBody()), "never");
        check("its death", letter.getMessageProperties().getXDeathHeader().get(0).get("reason"), "rejected");
        template.convertAndSend(exchange.getName(), "a.b", "flaky");
        check("what failed once comes again", within("a message", good), "flaky");
        check("it came twice", seen.stream().filter("flaky"::equals).count(), 2L);

        // A channel that commits: all or nothing.
        RabbitTemplate transacted = new RabbitTemplate(new CachingConnectionFactory(address[0], Integer.parseInt(address[1])));
        transacted.setChannelTransacted(true);
        transacted.convertAndSend(exchange.getName(), "a.b", "in a transaction");
        check("a transaction", within("a message", good), "in a transaction");

        Queue requests = QueueBuilder.nonDurable(name + "-rpc").autoDelete().build();
        admin.declareQueue(requests);
        DirectMessageListenerContainer server = new DirectMessageListenerContainer(factory);
        server.setQueueNames(requests.getName());
        server.setAcknowledgeMode(AcknowledgeMode.AUTO);
        server.setMessageListener(new MessageListenerAdapter(new Greeter(), "greet"));
        server.afterPropertiesSet();
        server.start();
        RabbitTemplate asking = new RabbitTemplate(factory);
        asking.setReplyTimeout(10_000);
        asking.setUseTemporaryReplyQueues(true);
        check("a request by a temporary queue", asking.convertSendAndReceive(requests.getName(), "a"), "hello a");
        Object capabilities = factory.createConnection().getDelegate().getServerProperties().get("capabilities");
        if (!Boolean.TRUE.equals(((java.util.Map<?, ?>) capabilities).get("direct_reply_to"))) {
            System.out.println("left out: cases of direct reply-to, which the broker does not announce");
        } else {
            RabbitTemplate direct = new RabbitTemplate(factory);
            direct.setReplyTimeout(10_000);
            for (String word : new String[] {"b", "c", "d"}) {
                check("a request", direct.convertSendAndReceive(requests.getName(), (Object) word), "hello " + word);
            }
        }
        server.stop();
        container.stop();
        admin.deleteQueue(name);
        admin.deleteQueue(dead.getName());
        admin.deleteExchange(exchange.getName());
        factory.destroy();
    }
}
