"""RabbitMQ and what speaks AMQP 0-9-1."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Generator
from contextlib import contextmanager
from urllib.parse import parse_qs, unquote

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import AMQPError, ChannelClosedByBroker

from reference.stores.base import Store, StoreError, value

HEARTBEAT_SECONDS = 10
NOT_FOUND = 404
PERSISTENT = 2


class RabbitStore(Store):
    """A message goes through a queue of its own; the queue of jobs may live here, too."""

    engine = "rabbitmq"
    example = "amqp://user:password@host:5672/vhost"

    @property
    def queue(self) -> str:
        """Where jobs wait: RABBITMQ_QUEUE."""
        return value(self.environment, "RABBITMQ_QUEUE") or "jobs"

    def check(self) -> None:
        """Publish a message with the server's confirmation, get it and acknowledge it.

        The queue is this connection's alone and ends with it.
        """
        written = secrets.token_bytes(8)
        with self.errors(), self.connect() as connection:
            channel = connection.channel()
            queue = channel.queue_declare("", exclusive=True).method.queue
            publish(channel, queue, written)
            method, _, found = channel.basic_get(queue)
            if method:
                channel.basic_ack(method.delivery_tag)
        if found != written:
            raise StoreError("published a message and got another one, or none")

    def migrate(self) -> list[str]:
        """Declare the queue of jobs where it is not there yet."""
        with self.errors(), self.connect() as connection:
            self.declare(connection)
        return [f"the queue {self.queue} is there"]

    def put(self, message: bytes) -> None:
        """Leave a message in the queue of jobs; it is there for good when this returns."""
        with self.errors(), self.connect() as connection:
            publish(self.declare(connection), self.queue, message)

    def depth(self) -> int:
        """How many messages wait in the queue of jobs for somebody to take them."""
        with self.errors(), self.connect() as connection:
            try:
                answer = connection.channel().queue_declare(self.queue, passive=True)
            except ChannelClosedByBroker as closed:
                if closed.reply_code == NOT_FOUND:
                    return 0
                raise
            return answer.method.message_count

    def declare(self, connection: pika.BlockingConnection) -> BlockingChannel:
        """A channel on which the queue of jobs is known to be there.

        A queue that is there is taken as it is: to declare it with other arguments is an error.
        """
        channel = connection.channel()
        try:
            channel.queue_declare(self.queue, passive=True)
        except ChannelClosedByBroker as closed:
            if closed.reply_code != NOT_FOUND:
                raise
            channel = connection.channel()
            channel.queue_declare(self.queue, durable=True)
        return channel

    def connect(self) -> pika.BlockingConnection:
        """A connection of its own for every use; pika's errors when that fails."""
        url = self.split_url()
        assert url.hostname
        secure = None
        if url.scheme == "amqps":
            authorities = parse_qs(url.query).get("cacertfile", [None])[0]
            secure = pika.SSLOptions(ssl.create_default_context(cafile=authorities), url.hostname)
        return pika.BlockingConnection(
            pika.ConnectionParameters(
                host=url.hostname,
                port=url.port or (5671 if secure else 5672),
                virtual_host=unquote(url.path.removeprefix("/")) or "/",
                credentials=pika.PlainCredentials(
                    unquote(url.username or "guest"), unquote(url.password or "guest")
                ),
                ssl_options=secure,
                heartbeat=HEARTBEAT_SECONDS,
                connection_attempts=1,
                socket_timeout=self.timeout_seconds,
                stack_timeout=self.timeout_seconds * 2,
                # A server that is short of memory or disk takes no messages.
                blocked_connection_timeout=self.timeout_seconds,
                client_properties={"connection_name": "reference"},
            )
        )

    @contextmanager
    def errors(self) -> Generator[None]:
        """Pika's errors as ours; several of them say what they are in their names only."""
        try:
            yield
        except (AMQPError, AMQPConnectorException, OSError) as error:
            raise self.failure(str(error) or repr(error)) from None


def publish(channel: BlockingChannel, queue: str, message: bytes) -> None:
    """Publish a message; an error of pika's unless the server has it in the queue."""
    channel.confirm_delivery()
    channel.basic_publish(
        "",
        queue,
        message,
        pika.BasicProperties(content_type="application/json", delivery_mode=PERSISTENT),
        mandatory=True,
    )
