// amqp091-go: confirms, returns, consumers and their cancel, errors of channels, reconnects, direct reply-to.
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log"
	"os"
	"reflect"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

var checks int

// Ends the program when something is not as it should be.
func check(what string, found, expected any) {
	if !reflect.DeepEqual(found, expected) {
		log.Fatalf("%s: %#v instead of %#v", what, found, expected)
	}
	checks++
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func within[T any](what string, from <-chan T) T {
	select {
	case value := <-from:
		return value
	case <-time.After(10 * time.Second):
		log.Fatalf("%s: not within ten seconds", what)
		panic("unreachable")
	}
}

func main() {
	address := os.Getenv("CROSSDOCK_AMQP")
	if address == "" {
		address = "127.0.0.1:5672"
	}
	run := make([]byte, 4)
	must(rand.Read(run))
	name := "go-" + hex.EncodeToString(run)
	connection := must(amqp.DialConfig("amqp://guest:guest@"+address+"/", amqp.Config{
		Heartbeat:  2 * time.Second,
		Properties: amqp.Table{"connection_name": name},
	}))
	channel := must(connection.Channel())
	queue := must(channel.QueueDeclare(name, true, false, false, false, amqp.Table{
		"x-queue-type": "quorum", "x-delivery-limit": int32(2),
		"x-dead-letter-exchange": "", "x-dead-letter-routing-key": name + "-dead",
	}))
	must(channel.QueueDeclare(name+"-dead", false, true, false, false, nil))
	if err := channel.Confirm(false); err != nil {
		log.Fatal(err)
	}
	returns := channel.NotifyReturn(make(chan amqp.Return, 5))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	headers := amqp.Table{
		"text": "x", "number": int64(5), "list": []any{int32(1), "two", nil}, "table": amqp.Table{"flag": true},
		"time": time.Unix(1234567890, 0), "bytes": []byte{0, 255}, "real": 1.5,
	}
	var confirms []*amqp.DeferredConfirmation
	for n := 0; n < 10; n++ {
		confirms = append(confirms, must(channel.PublishWithDeferredConfirmWithContext(ctx, "", queue.Name, true, false,
			amqp.Publishing{DeliveryMode: amqp.Persistent, Headers: headers, Body: []byte{byte(n)}, MessageId: fmt.Sprint(n)})))
	}
	for _, confirm := range confirms {
		check("a confirm", must(confirm.WaitContext(ctx)), true)
	}
	lost := must(channel.PublishWithDeferredConfirmWithContext(ctx, "", name+"-missing", true, false, amqp.Publishing{}))
	check("what nobody gets is confirmed", must(lost.WaitContext(ctx)), true)
	check("and comes back", within("a return", returns).ReplyCode, uint16(amqp.NoRoute))

	consumer := must(connection.Channel())
	if err := consumer.Qos(3, 0, false); err != nil {
		log.Fatal(err)
	}
	cancels := consumer.NotifyCancel(make(chan string, 1))
	deliveries := must(consumer.Consume(queue.Name, "worker", false, false, false, false, nil))
	for n := 0; n < 10; n++ {
		delivery := within("a delivery", deliveries)
		check("its body", delivery.Body, []byte{byte(n)})
		if n == 0 {
			check("its headers", delivery.Headers, headers)
		}
		if err := delivery.Ack(false); err != nil {
			log.Fatal(err)
		}
	}
	// Rejected until the limit, then dead.
	must(channel.PublishWithDeferredConfirmWithContext(ctx, "", queue.Name, false, false, amqp.Publishing{Body: []byte("poison")}))
	for attempt := 0; attempt < 3; attempt++ {
		delivery := within("an attempt", deliveries)
		check("it was tried before", delivery.Redelivered, attempt > 0)
		if err := delivery.Reject(true); err != nil {
			log.Fatal(err)
		}
	}
	var dead amqp.Delivery
	for ok := false; !ok; time.Sleep(10 * time.Millisecond) {
		if dead, ok, _ = channel.Get(name+"-dead", true); ctx.Err() != nil {
			log.Fatal("no dead letter")
		}
	}
	death := dead.Headers["x-death"].([]any)[0].(amqp.Table)
	check("why it died", death["reason"], "delivery_limit")

	must(channel.QueueDelete(name, false, false, false))
	check("a deleted queue cancels its consumer", within("a cancel", cancels), "worker")

	broken := must(connection.Channel())
	closes := broken.NotifyClose(make(chan *amqp.Error, 1))
	_, err := broken.QueueDeclarePassive(name, true, false, false, false, nil)
	check("a missing queue", err.(*amqp.Error).Code, amqp.NotFound)
	check("the channel says so, too", within("a close", closes).Code, amqp.NotFound)

	capabilities := connection.Properties["capabilities"].(amqp.Table)
	if capabilities["direct_reply_to"] != true {
		fmt.Println("left out: cases of direct reply-to, which the broker does not announce")
	} else {
		directReplyTo(ctx, connection, name)
	}
	if err := connection.Close(); err != nil {
		log.Fatal(err)
	}
	fmt.Println(checks, "checks")
}

func directReplyTo(ctx context.Context, connection *amqp.Connection, name string) {
	server, client := must(connection.Channel()), must(connection.Channel())
	must(server.QueueDeclare(name+"-rpc", false, true, false, false, nil))
	requests := must(server.Consume(name+"-rpc", "", true, false, false, false, nil))
	go func() {
		for request := range requests {
			answer := amqp.Publishing{CorrelationId: request.CorrelationId, Body: append([]byte("re: "), request.Body...)}
			if err := server.PublishWithContext(ctx, "", request.ReplyTo, false, false, answer); err != nil {
				log.Fatal(err)
			}
		}
	}()
	answers := must(client.Consume("amq.rabbitmq.reply-to", "", true, false, false, false, nil))
	for n := 0; n < 5; n++ {
		request := amqp.Publishing{ReplyTo: "amq.rabbitmq.reply-to", CorrelationId: fmt.Sprint(n), Body: []byte(fmt.Sprint(n))}
		if err := client.PublishWithContext(ctx, "", name+"-rpc", false, false, request); err != nil {
			log.Fatal(err)
		}
		answer := within("an answer", answers)
		check("the answer", []string{answer.CorrelationId, string(answer.Body)}, []string{fmt.Sprint(n), "re: " + fmt.Sprint(n)})
	}
}
