// A mock backend that speaks Chat Completions, Messages and Responses, whole (about 1 kB) and
// streamed, from one epoll thread that is much faster than any proxy.
//
// The model's name says what it does, so that it survives every proxy: "mock-n100-d20" tells 100
// events, one every 20 ms; with d0 they come at once, each in a send of its own. A stream's head
// always comes at once, so "mock-n1-d8000" is a stream that idles for 8 s.
// Each event's text holds the time it was sent, "@t<CLOCK_MONOTONIC in ns>@": loadgen.c reads it
// back, through any proxy or translation that keeps the text. A stream of Responses ends with
// events that repeat the whole text, as OpenAI's does.
//
// mockllm PORT
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { WHEEL = 8192, READ = 1 << 16, LONGEST_EVENT = 2048, MAX_READY = 512 };

typedef struct {
  char *bytes;
  size_t length, room;
} Buffer;

typedef enum { CHAT, MESSAGES, RESPONSES } Dialect;

typedef struct Connection {
  int fd, closed, wants_out;
  Buffer in, out, said;  // said: the text of a stream of Responses so far
  Dialect dialect;
  int streaming, events, told, pause_ms, sequence;
  long due_ms;                      // of the next event
  struct Connection *next, **link;  // in the wheel; link is null outside of it
} Connection;

static int epoll, timers;
static long wheel_ms;
static Connection *wheel[WHEEL];

static const char FILL[] =
    " lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut "
    "labore et dolore magna aliqua. Ut enim ad minim veniam, quis nostrud exercitation ullamco "
    "laboris nisi ut aliquip ex ea commodo consequat. Duis aute irure dolor in reprehenderit in "
    "voluptate velit esse cillum dolore eu fugiat nulla pariatur. Excepteur sint occaecat cupidatat "
    "non proident, sunt in culpa qui officia deserunt mollit anim id est laborum.";
enum { FILL_EVENT = 40, FILL_WHOLE = 440 };

#define OPENAI_CHUNK                                                                         \
  "{\"id\":\"chatcmpl-mock0123456789abcdef\",\"object\":\"chat.completion.chunk\","          \
  "\"created\":1700000000,\"model\":\"mock-model\",\"system_fingerprint\":\"fp_mock\",\"choices\":["
#define OPENAI_WHOLE                                                                         \
  "{\"id\":\"chatcmpl-mock0123456789abcdef\",\"object\":\"chat.completion\","                \
  "\"created\":1700000000,\"model\":\"mock-model\",\"choices\":[{\"index\":0,\"message\":{"  \
  "\"role\":\"assistant\",\"content\":\"@t%llu@%.*s\",\"refusal\":null},\"logprobs\":null,"  \
  "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":42,\"completion_tokens\":120,"  \
  "\"total_tokens\":162,\"prompt_tokens_details\":{\"cached_tokens\":0}},"                   \
  "\"system_fingerprint\":\"fp_mock\"}"
#define ANTHROPIC_MESSAGE                                                                    \
  "{\"id\":\"msg_mock0123456789\",\"type\":\"message\",\"role\":\"assistant\","              \
  "\"model\":\"mock-model\","
#define ANTHROPIC_USAGE                                                                      \
  "\"usage\":{\"input_tokens\":42,\"cache_creation_input_tokens\":0,"                        \
  "\"cache_read_input_tokens\":0,\"output_tokens\":%d}}"
#define ANTHROPIC_WHOLE                                                                      \
  ANTHROPIC_MESSAGE "\"content\":[{\"type\":\"text\",\"text\":\"@t%llu@%.*s\"}],"            \
  "\"stop_reason\":\"end_turn\",\"stop_sequence\":null," ANTHROPIC_USAGE

#define RESPONSE(status, completed, output, usage)                                           \
  "{\"id\":\"resp_mock0123456789abcdef\",\"object\":\"response\",\"created_at\":1700000000,"     \
  "\"status\":\"" status "\",\"background\":false," completed "\"error\":null,"                   \
  "\"incomplete_details\":null,\"instructions\":null,\"max_output_tokens\":256,"               \
  "\"max_tool_calls\":null,\"model\":\"mock-model\",\"output\":[" output "],"                  \
  "\"parallel_tool_calls\":true,\"previous_response_id\":null,\"prompt_cache_key\":null,"      \
  "\"reasoning\":{\"effort\":null,\"summary\":null},\"service_tier\":\"default\","             \
  "\"store\":false,\"temperature\":0.7,\"text\":{\"format\":{\"type\":\"text\"}},"             \
  "\"tool_choice\":\"auto\",\"tools\":[],\"top_logprobs\":0,\"top_p\":1.0,"                    \
  "\"truncation\":\"disabled\",\"usage\":" usage ",\"user\":null,\"metadata\":{}}"
#define RESPONSE_MESSAGE(status, content)                                                    \
  "{\"id\":\"msg_mock0123456789\",\"type\":\"message\",\"status\":\"" status "\","             \
  "\"role\":\"assistant\",\"content\":[" content "]}"
#define RESPONSE_TEXT                                                                        \
  "{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":\"%.*s\"}"
#define RESPONSE_USAGE                                                                       \
  "{\"input_tokens\":42,\"input_tokens_details\":{\"cached_tokens\":0},\"output_tokens\":%d,"   \
  "\"output_tokens_details\":{\"reasoning_tokens\":0},\"total_tokens\":%d}"
#define RESPONSE_WHOLE                                                                       \
  RESPONSE("completed", "\"completed_at\":1700000001,",                                       \
           RESPONSE_MESSAGE("completed", RESPONSE_TEXT), RESPONSE_USAGE)

static unsigned long long now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void append(Buffer *to, const char *bytes, size_t length) {
  if (to->length + length + 1 > to->room) {
    to->room = (to->length + length + 1) * 2;
    to->bytes = realloc(to->bytes, to->room);
  }
  memcpy(to->bytes + to->length, bytes, length);
  to->length += length;
}

static void drop_front(Buffer *from, size_t length) {
  memmove(from->bytes, from->bytes + length, from->length - length);
  from->length -= length;
}

// The wheel of timers: one list per millisecond.

static void timer_stop(Connection *c) {
  if (!c->link) return;
  *c->link = c->next;
  if (c->next) c->next->link = c->link;
  c->link = 0;
  timers--;
}

static void timer_start(Connection *c, long due_ms) {
  Connection **slot = &wheel[due_ms % WHEEL];
  c->due_ms = due_ms;
  c->next = *slot;
  if (c->next) c->next->link = &c->next;
  c->link = slot;
  *slot = c;
  timers++;
}

// Writing.

static void watch(Connection *c, int wants_out) {
  struct epoll_event e = {EPOLLIN | (wants_out ? EPOLLOUT : 0), {.ptr = c}};
  c->wants_out = wants_out;
  epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &e);
}

static void send_bytes(Connection *c, const char *bytes, size_t length) {
  ssize_t sent = 0;
  if (!c->out.length) {
    sent = send(c->fd, bytes, length, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
      shutdown(c->fd, SHUT_RDWR);
      return;
    }
    if (sent < 0) sent = 0;
  }
  if ((size_t)sent == length) return;
  append(&c->out, bytes + sent, length - sent);
  if (!c->wants_out) watch(c, 1);
}

__attribute__((format(printf, 2, 3)))
static void add_chunk(Buffer *to, const char *format, ...) {
  static Buffer event;
  char size[16];
  int length;
  for (;;) {
    va_list values;
    va_start(values, format);
    length = vsnprintf(event.bytes, event.room, format, values);
    va_end(values);
    if ((size_t)length < event.room) break;
    event.room = length + LONGEST_EVENT;
    event.bytes = realloc(event.bytes, event.room);
  }
  append(to, size, snprintf(size, sizeof size, "%x\r\n", length));
  append(to, event.bytes, length);
  append(to, "\r\n", 2);
}

// The beginning of an event of Responses.
#define RESPONSE_EVENT(type) \
  "event: " type "\ndata: {\"type\":\"" type "\",\"sequence_number\":%d,"
#define RESPONSE_PLACE "\"item_id\":\"msg_mock0123456789\",\"output_index\":0,\"content_index\":0,"

static void add_first_events(Connection *c, Buffer *to) {
  if (c->dialect == RESPONSES) {
    add_chunk(to,
              RESPONSE_EVENT("response.created") "\"response\":" RESPONSE(
                  "in_progress", "", "", "null") "}\n\n",
              c->sequence++);
    add_chunk(to,
              RESPONSE_EVENT("response.in_progress") "\"response\":" RESPONSE(
                  "in_progress", "", "", "null") "}\n\n",
              c->sequence++);
    add_chunk(to,
              RESPONSE_EVENT("response.output_item.added") "\"output_index\":0,"
              "\"item\":" RESPONSE_MESSAGE("in_progress", "") "}\n\n",
              c->sequence++);
    add_chunk(to,
              RESPONSE_EVENT("response.content_part.added") RESPONSE_PLACE
              "\"part\":" RESPONSE_TEXT "}\n\n",
              c->sequence++, 0, "");
  } else if (c->dialect == MESSAGES) {
    add_chunk(to,
              "event: message_start\ndata: {\"type\":\"message_start\",\"message\":" ANTHROPIC_MESSAGE
              "\"content\":[],\"stop_reason\":null,\"stop_sequence\":null," ANTHROPIC_USAGE "}\n\n",
              1);
    add_chunk(to, "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,"
                  "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n");
    add_chunk(to, "event: ping\ndata: {\"type\": \"ping\"}\n\n");
  } else {
    add_chunk(to, "data: " OPENAI_CHUNK "{\"index\":0,\"delta\":{\"role\":\"assistant\","
                  "\"content\":\"\"},\"finish_reason\":null}]}\n\n");
  }
}

static void add_event(Connection *c, Buffer *to) {
  c->told++;
  if (c->dialect == RESPONSES) {
    char text[LONGEST_EVENT];
    int length = snprintf(text, sizeof text, "@t%llu@%.*s", now_ns(), FILL_EVENT, FILL);
    append(&c->said, text, length);
    add_chunk(to,
              RESPONSE_EVENT("response.output_text.delta") RESPONSE_PLACE
              "\"delta\":\"%s\",\"logprobs\":[],\"obfuscation\":\"0123456789\"}\n\n",
              c->sequence++, text);
  } else if (c->dialect == MESSAGES)
    add_chunk(to,
              "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,"
              "\"delta\":{\"type\":\"text_delta\",\"text\":\"@t%llu@%.*s\"}}\n\n",
              now_ns(), FILL_EVENT, FILL);
  else
    add_chunk(to,
              "data: " OPENAI_CHUNK "{\"index\":0,\"delta\":{\"content\":\"@t%llu@%.*s\"},"
              "\"finish_reason\":null}]}\n\n",
              now_ns(), FILL_EVENT, FILL);
}

static void add_last_events(Connection *c, Buffer *to) {
  if (c->dialect == RESPONSES) {
    int length = c->said.length;
    const char *said = c->said.bytes;
    add_chunk(to,
              RESPONSE_EVENT("response.output_text.done") RESPONSE_PLACE
              "\"text\":\"%.*s\",\"logprobs\":[]}\n\n",
              c->sequence++, length, said);
    add_chunk(to,
              RESPONSE_EVENT("response.content_part.done") RESPONSE_PLACE
              "\"part\":" RESPONSE_TEXT "}\n\n",
              c->sequence++, length, said);
    add_chunk(to,
              RESPONSE_EVENT("response.output_item.done") "\"output_index\":0,"
              "\"item\":" RESPONSE_MESSAGE("completed", RESPONSE_TEXT) "}\n\n",
              c->sequence++, length, said);
    add_chunk(to,
              RESPONSE_EVENT("response.completed") "\"response\":" RESPONSE_WHOLE "}\n\n",
              c->sequence++, length, said, c->events, 42 + c->events);
  } else if (c->dialect == MESSAGES) {
    add_chunk(to, "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n");
    add_chunk(to,
              "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":"
              "\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":%d}}\n\n",
              c->events);
    add_chunk(to, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
  } else {
    add_chunk(to, "data: " OPENAI_CHUNK "{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n");
    add_chunk(to,
              "data: " OPENAI_CHUNK "],\"usage\":{\"prompt_tokens\":42,\"completion_tokens\":%d,"
              "\"total_tokens\":%d}}\n\n",
              c->events, 42 + c->events);
    add_chunk(to, "data: [DONE]\n\n");
  }
  append(to, "0\r\n\r\n", 5);
}

static void tell_next(Connection *c) {
  static Buffer text;
  do {
    text.length = 0;
    add_event(c, &text);
    send_bytes(c, text.bytes, text.length);
  } while (!c->pause_ms && c->told < c->events);
  if (c->told < c->events) {
    timer_start(c, c->due_ms + c->pause_ms > wheel_ms ? c->due_ms + c->pause_ms : wheel_ms + 1);
    return;
  }
  text.length = 0;
  add_last_events(c, &text);
  send_bytes(c, text.bytes, text.length);
  c->streaming = 0;
}

static void stream(Connection *c) {
  static const char HEAD[] =
      "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
      "Content-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
      "Transfer-Encoding: chunked\r\nx-request-id: req_mock0123456789\r\n\r\n";
  static Buffer text;
  text.length = 0;
  append(&text, HEAD, sizeof HEAD - 1);
  c->told = c->sequence = 0;
  c->said.length = 0;
  add_first_events(c, &text);
  send_bytes(c, text.bytes, text.length);
  c->streaming = 1;
  c->due_ms = now_ns() / 1000000;
  if (c->pause_ms)
    timer_start(c, c->due_ms + c->pause_ms);
  else
    tell_next(c);
}

static void answer_whole(Connection *c) {
  char body[LONGEST_EVENT], head[512], said[LONGEST_EVENT];
  int length;
  if (c->dialect == RESPONSES) {
    length = snprintf(said, sizeof said, "@t%llu@%.*s", now_ns(), FILL_WHOLE, FILL);
    length = snprintf(body, sizeof body, RESPONSE_WHOLE, length, said, 120, 162);
  } else if (c->dialect == MESSAGES)
    length = snprintf(body, sizeof body, ANTHROPIC_WHOLE, now_ns(), FILL_WHOLE, FILL, 120);
  else
    length = snprintf(body, sizeof body, OPENAI_WHOLE, now_ns(), FILL_WHOLE, FILL);
  static Buffer text;
  text.length = 0;
  append(&text, head,
         snprintf(head, sizeof head,
                  "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
                  "Content-Type: application/json\r\nContent-Length: %d\r\n"
                  "x-request-id: req_mock0123456789\r\nopenai-processing-ms: 1\r\n\r\n",
                  length));
  append(&text, body, length);
  send_bytes(c, text.bytes, text.length);
}

// Reading.

static int asks_for_stream(const char *body) {
  const char *value = strstr(body, "\"stream\"");
  if (!value) return 0;
  value += strlen("\"stream\"");
  value += strspn(value, " :");
  return !strncmp(value, "true", 4);
}

static void answer(Connection *c, const char *request_line, const char *body) {
  const char *model = strstr(body, "mock-n");
  c->events = 1;
  c->pause_ms = 0;
  c->dialect = strstr(request_line, "/messages ") || strstr(request_line, "/messages?") ? MESSAGES
               : strstr(request_line, "/responses")                                   ? RESPONSES
                                                                                       : CHAT;
  if (model) sscanf(model, "mock-n%d-d%d", &c->events, &c->pause_ms);
  if (asks_for_stream(body))
    stream(c);
  else
    answer_whole(c);
}

static void read_requests(Connection *c) {
  while (!c->streaming && c->in.length) {
    char *request = c->in.bytes;
    char *blank = memmem(request, c->in.length, "\r\n\r\n", 4);
    if (!blank) return;
    *blank = 0;  // the head is one string now
    char *length = strcasestr(request, "\ncontent-length:");
    if (!length) {
      static const char REFUSAL[] = "HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\n\r\n";
      send_bytes(c, REFUSAL, sizeof REFUSAL - 1);
      shutdown(c->fd, SHUT_RDWR);
      return;
    }
    char *body = blank + 4;
    size_t used = body - request + strtoul(length + strlen("\ncontent-length:"), 0, 10);
    if (c->in.length < used) {
      *blank = '\r';
      return;
    }
    char after = request[used];  // append leaves room for it
    request[used] = 0;
    *strchr(request, '\r') = 0;
    answer(c, request, body);
    request[used] = after;
    drop_front(&c->in, used);
  }
}

static void close_connection(Connection *c) {
  timer_stop(c);
  close(c->fd);
  free(c->in.bytes);
  free(c->out.bytes);
  free(c->said.bytes);
  c->closed = 1;
}

static void on_input(Connection *c) {
  static char bytes[READ];
  ssize_t got;
  while ((got = recv(c->fd, bytes, sizeof bytes, 0)) > 0) {
    append(&c->in, bytes, got);
    if (got < READ) break;
  }
  if (got > 0 || (got < 0 && errno == EAGAIN))
    read_requests(c);
  else
    close_connection(c);
}

static void on_output(Connection *c) {
  ssize_t sent = send(c->fd, c->out.bytes, c->out.length, MSG_NOSIGNAL);
  if (sent > 0) drop_front(&c->out, sent);
  if (!c->out.length) watch(c, 0);
}

static void run_timers(long now_ms) {
  if (!timers) wheel_ms = now_ms;
  while (wheel_ms < now_ms) {
    wheel_ms++;
    for (Connection *c = wheel[wheel_ms % WHEEL], *next; c; c = next) {
      next = c->next;
      if (c->due_ms > wheel_ms) continue;
      timer_stop(c);
      tell_next(c);
      if (!c->streaming) read_requests(c);
    }
  }
}

static void accept_all(int listener) {
  int fd, on = 1;
  while ((fd = accept4(listener, 0, 0, SOCK_NONBLOCK)) >= 0) {
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    Connection *c = calloc(1, sizeof *c);
    c->fd = fd;
    struct epoll_event e = {EPOLLIN, {.ptr = c}};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e);
  }
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "mockllm PORT\n");
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_port = htons(atoi(argv[1])),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (bind(listener, (void *)&address, sizeof address) || listen(listener, 4096)) {
    perror("mockllm");
    return 1;
  }
  epoll = epoll_create1(0);
  struct epoll_event e = {EPOLLIN, {.ptr = 0}}, ready[MAX_READY];
  epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &e);
  wheel_ms = now_ns() / 1000000;
  for (;;) {
    int count = epoll_wait(epoll, ready, MAX_READY, timers ? 1 : -1);
    run_timers(now_ns() / 1000000);
    for (int i = 0; i < count; i++) {
      Connection *c = ready[i].data.ptr;
      if (!c) {
        accept_all(listener);
        continue;
      }
      if (ready[i].events & EPOLLOUT && c->out.length) on_output(c);
      if (ready[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) on_input(c);
      if (c->closed) free(c);  // told of at most once per turn
    }
  }
}
