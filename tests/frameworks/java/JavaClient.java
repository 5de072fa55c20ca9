// The Java client: confirms, returns, consumers, recovery after a break, headers, direct reply-to by its RpcClient.

import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.MessageProperties;
import com.rabbitmq.client.Recoverable;
import com.rabbitmq.client.RecoveryListener;
import com.rabbitmq.client.RpcClient;
import com.rabbitmq.client.RpcClientParams;
import com.rabbitmq.client.ShutdownSignalException;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.ArrayList;
import java.util.Date;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.UUID;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

public class JavaClient {
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

    /** Passes octets on to the broker, until it cuts all connections. */
    static class Relay {
        final ServerSocket server = new ServerSocket(0);
        final List<Socket> sockets = new ArrayList<>();

        Relay(String host, int port) throws IOException {
            start(() -> {
                while (true) {
                    Socket near = server.accept(), far = new Socket(host, port);
                    synchronized (sockets) {
                        sockets.add(near);
                        sockets.add(far);
                    }
                    start(() -> copy(near, far));
                    start(() -> copy(far, near));
                }
            });
        }

        interface Work { void run() throws IOException; }

        static void start(Work work) {
            Thread thread = new Thread(() -> {
                try { work.run(); } catch (IOException ended) { }
            });
            thread.setDaemon(true);
            thread.start();
        }

        static void copy(Socket from, Socket to) throws IOException {
            try (from; to) {
                InputStream in = from.getInputStream();
                OutputStream out = to.getOutputStream();
                in.transferTo(out);
            }
        }

        void cut() throws IOException {
            synchronized (sockets) {
                for (Socket socket : sockets) socket.close();
                sockets.clear();
            }
        }
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
        int port = Integer.parseInt(address[1]);
        Relay relay = new Relay(address[0], port);
        String name = "java-" + UUID.randomUUID();
        ConnectionFactory factory = new ConnectionFactory();
        factory.setHost("127.0.0.1");
        factory.setPort(relay.server.getLocalPort());
        factory.setRequestedHeartbeat(2);
        factory.setNetworkRecoveryInterval(200);
        Connection connection = factory.newConnection(name);
        Channel channel = connection.createChannel();
        channel.queueDeclare(name, true, false, false, Map.of("x-max-priority", 5, "x-message-ttl", 60000L));
        channel.exchangeDeclare(name + "-x", "topic");
        channel.queueBind(name, name + "-x", "a.#");

        BlockingQueue<Integer> returns = new LinkedBlockingQueue<>();
        channel.addReturnListener(message -> returns.add(message.getReplyCode()));
        channel.confirmSelect();
        Map<String, Object> headers = new HashMap<>();
        headers.put("number", 5L);
        headers.put("time", new Date(1234567890000L));
        headers.put("list", List.of(1, true));
        headers.put("nothing", null);
        AMQP.BasicProperties.Builder builder = MessageProperties.PERSISTENT_BASIC.builder().headers(headers);
        for (int priority : new int[] {1, 5, 3}) {
            channel.basicPublish(name + "-x", "a.b", true, builder.priority(priority).build(), new byte[] {(byte) priority});
        }
        channel.basicPublish(name + "-x", "nobody", true, null, new byte[0]);
        channel.waitForConfirmsOrDie(10_000);
        check("a return", within("a return", returns), 312);

        BlockingQueue<com.rabbitmq.client.Delivery> deliveries = new LinkedBlockingQueue<>();
        BlockingQueue<String> cancels = new LinkedBlockingQueue<>();
        Channel consumer = connection.createChannel();
        consumer.basicQos(1);
        consumer.basicConsume(name, false, (tag, delivery) -> {
            consumer.basicAck(delivery.getEnvelope().getDeliveryTag(), false);
            deliveries.add(delivery);
        }, cancels::add);
        for (int priority : new int[] {5, 3, 1}) {
            com.rabbitmq.client.Delivery delivery = within("a delivery", deliveries);
            check("by priority", (int) delivery.getBody()[0], priority);
            Map<String, Object> found = delivery.getProperties().getHeaders();
            check("a number", found.get("number"), 5L);
            check("a time", found.get("time"), headers.get("time"));
            check("a list", found.get("list"), headers.get("list"));
        }

        // The network breaks: the client connects again, and its consumer goes on.
        CountDownLatch recovered = new CountDownLatch(1);
        ((Recoverable) connection).addRecoveryListener(new RecoveryListener() {
            public void handleRecovery(Recoverable recoverable) { recovered.countDown(); }
            public void handleRecoveryStarted(Recoverable recoverable) { }
        });
        relay.cut();
        check("a recovery", recovered.await(15, TimeUnit.SECONDS), true);
        channel.basicPublish(name + "-x", "a.c", builder.build(), "again".getBytes());
        // What was settled just before the break may come again first.
        String body;
        do body = new String(within("a delivery after it", deliveries).getBody());
        while (!body.equals("again"));
        checks += 1;

        try {
            connection.createChannel().queueDeclare(name, true, false, false, Map.of("x-max-priority", 6, "x-message-ttl", 60000L));
            throw new AssertionError("another declaration was taken");
        } catch (IOException error) {
            AMQP.Channel.Close close = (AMQP.Channel.Close) ((ShutdownSignalException) error.getCause()).getReason();
            check("another declaration", close.getReplyCode(), 406);
            check("its words", close.getReplyText().contains("inequivalent arg 'x-max-priority'"), true);
        }

        Map<?, ?> capabilities = (Map<?, ?>) connection.getServerProperties().get("capabilities");
        if (!Boolean.TRUE.equals(capabilities.get("direct_reply_to"))) {
            System.out.println("left out: cases of direct reply-to, which the broker does not announce");
        } else {
            Channel server = connection.createChannel();
            server.queueDeclare(name + "-rpc", false, false, true, null);
            server.basicConsume(name + "-rpc", true, (tag, request) -> {
                AMQP.BasicProperties asked = request.getProperties();
                AMQP.BasicProperties answer = new AMQP.BasicProperties.Builder().correlationId(asked.getCorrelationId()).build();
                server.basicPublish("", asked.getReplyTo(), answer, ("re: " + new String(request.getBody())).getBytes());
            }, tag -> { });
            RpcClient client = new RpcClient(new RpcClientParams().channel(connection.createChannel())
                .exchange("").routingKey(name + "-rpc").timeout(10_000));
            for (int n = 0; n < 5; n += 1) check("RPC", client.stringCall("q" + n), "re: q" + n);
        }
        channel.queueDelete(name);
        check("a deleted queue cancels its consumer", within("a cancel", cancels).isEmpty(), false);
        channel.exchangeDelete(name + "-x");
        connection.close();
    }
}
