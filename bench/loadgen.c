// A closed-loop load generator for LLM proxies, one epoll thread: each connection asks, reads the
// whole answer (one JSON body or a stream), and asks again.
//
//   loadgen -p PORT -u PATH -b BODY_FILE -c CONNECTIONS (-n REQUESTS | -t SECONDS)
//           [-r RAMP_MS] [-e EVENTS] [-H "Name: value"]...
//
// -r opens the connections evenly over that time. -e: an answer with another number of events is
// an error. Prints one line of JSON: times are in microseconds; "first" is from the request to the
// first event's text, "event" from the moment at which mockllm.c sent an event to the moment at
// which it is here, read from the mark in its text; marks that come again, as in the last events of
// Responses, are none. Up to three bad answers are shown on stderr.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LONGEST_HEAD = 8192, LONGEST_BODY = 1 << 20, SHOWN = 180, MAX_READY = 512 };
enum { MAX_ERRORS = 2000, DRAIN_SECONDS = 20, READ = 1 << 18 };
typedef unsigned long long u64;

static u64 now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ull + t.tv_nsec;
}

// A histogram of nanoseconds: 32 steps to each power of two, so 3 % wide.

enum { STEPS = 32, POWERS = 64 };
typedef struct {
  u64 counts[POWERS * STEPS], total;
} Histogram;

static void note(Histogram *h, u64 ns) {
  if (ns < STEPS) ns = STEPS;
  int power = 63 - __builtin_clzll(ns);
  h->counts[power * STEPS + ((ns >> (power - 5)) & (STEPS - 1))]++;
  h->total++;
}

static double quantile_us(const Histogram *h, double share) {
  u64 wanted = share * h->total, seen = 0;
  for (int i = 0; i < POWERS * STEPS; i++) {
    seen += h->counts[i];
    if (seen > wanted)
      return ((1ull << i / STEPS) + (i % STEPS + 0.5) * (1ull << i / STEPS) / STEPS) / 1000;
  }
  return 0;
}

static void print_quantiles(const char *name, const Histogram *h) {
  printf(",\"%s\":{\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f}", name, quantile_us(h, .5),
         quantile_us(h, .9), quantile_us(h, .99));
}

static Histogram answers, firsts, events;

// The state of one connection.

typedef enum { IDLE, HEAD, BODY } Phase;
typedef enum { BY_LENGTH, BY_CHUNKS, BY_CLOSE } Framing;
typedef enum { SIZE, SIZE_EXTENSION, DATA, DATA_END, TRAILER } ChunkPhase;
typedef enum { TEXT, AT, DIGITS } MarkPhase;

typedef struct {
  int fd, open, connected, reused, must_close;
  Phase phase;
  u64 asked_ns;
  size_t written;  // of the request
  char head[LONGEST_HEAD];
  size_t head_length;
  int status;
  Framing framing;
  ChunkPhase chunk;
  long left;  // of the body, or of the chunk
  MarkPhase mark;
  u64 mark_ns, latest_ns;
  int marks;
  char shown[SHOWN + 1];
  size_t shown_length;
} Connection;

static int epoll, port, stopping, expected_events = -1;
static long max_requests;
static char *request;
static size_t request_length;
static u64 asked, done, errors, dials, last_ns;

static void watch(Connection *c, int wants_out) {
  struct epoll_event e = {EPOLLIN | (wants_out ? EPOLLOUT : 0), {.ptr = c}};
  epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &e);
}

static void dial(Connection *c) {
  int on = 1;
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_port = htons(port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  connect(c->fd, (void *)&address, sizeof address);
  struct epoll_event e = {EPOLLIN | EPOLLOUT, {.ptr = c}};
  epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &e);
  c->open = 1;
  c->connected = c->reused = 0;
  dials++;
}

static void hang_up(Connection *c) {
  if (c->open) close(c->fd);
  c->open = 0;
}

static void write_request(Connection *c) {
  ssize_t sent = send(c->fd, request + c->written, request_length - c->written, MSG_NOSIGNAL);
  if (sent > 0) c->written += sent;
  watch(c, c->written < request_length);
}

static void begin(Connection *c) {
  c->phase = HEAD;
  c->head_length = c->written = c->shown_length = 0;
  c->status = c->must_close = c->marks = 0;
  c->mark = TEXT;
  c->latest_ns = 0;
  if (c->open)
    write_request(c);
  else
    dial(c);
}

static void ask(Connection *c) {
  if (stopping || (max_requests && asked >= (u64)max_requests)) {
    hang_up(c);
    return;
  }
  asked++;
  c->asked_ns = now_ns();
  begin(c);
}

static void finish(Connection *c, int whole) {
  c->phase = IDLE;
  last_ns = now_ns();
  if (whole && c->status == 200 && (expected_events < 0 || c->marks == expected_events)) {
    done++;
    note(&answers, last_ns - c->asked_ns);
    c->reused = 1;
    if (c->must_close) hang_up(c);
  } else {
    if (++errors <= 3) {
      c->shown[c->shown_length] = 0;
      fprintf(stderr, "bad answer: status %d, %d events, %s: %s\n", c->status, c->marks,
              whole ? "whole" : "cut", c->shown);
    }
    if (errors > MAX_ERRORS) stopping = 1;
    hang_up(c);
  }
  ask(c);
}

// Reading.

static void note_mark(Connection *c) {
  u64 now = now_ns();
  if (c->mark_ns <= c->latest_ns) return;
  c->latest_ns = c->mark_ns;
  if (!c->marks++) note(&firsts, now - c->asked_ns);
  note(&events, now > c->mark_ns ? now - c->mark_ns : 0);
}

static void read_text(Connection *c, const char *text, size_t length) {
  if (c->shown_length < SHOWN) {
    size_t part = length < SHOWN - c->shown_length ? length : SHOWN - c->shown_length;
    memcpy(c->shown + c->shown_length, text, part);
    c->shown_length += part;
  }
  for (const char *end = text + length; text < end; text++) {
    if (c->mark == TEXT) {
      text = memchr(text, '@', end - text);
      if (!text) return;
      c->mark = AT;
    } else if (c->mark == AT) {
      c->mark = *text == 't' ? DIGITS : *text == '@' ? AT : TEXT;
      c->mark_ns = 0;
    } else if (*text >= '0' && *text <= '9') {
      c->mark_ns = c->mark_ns * 10 + (*text - '0');
    } else {
      if (*text == '@' && c->mark_ns) note_mark(c);
      c->mark = TEXT;
    }
  }
}

static void begin_body(Connection *c) {
  char *length = strcasestr(c->head, "\ncontent-length:");
  c->status = atoi(c->head + strlen("HTTP/1.1 "));
  c->must_close = strcasestr(c->head, "\nconnection: close") != 0;
  c->phase = BODY;
  c->left = 0;
  c->chunk = SIZE;
  if (strcasestr(c->head, "\ntransfer-encoding: chunked")) {
    c->framing = BY_CHUNKS;
  } else if (length) {
    c->framing = BY_LENGTH;
    c->left = strtol(length + strlen("\ncontent-length:"), 0, 10);
    if (!c->left) finish(c, 1);
  } else {
    c->framing = BY_CLOSE;
    c->must_close = 1;
  }
}

// Returns how many of the bytes were of the head.
static size_t read_head(Connection *c, const char *bytes, size_t length) {
  size_t before = c->head_length, room = sizeof c->head - 1 - before;
  size_t part = length < room ? length : room;
  memcpy(c->head + before, bytes, part);
  c->head_length += part;
  c->head[c->head_length] = 0;
  char *blank = strstr(c->head, "\r\n\r\n");
  if (!blank) {
    if (part < length) finish(c, 0);
    return length;
  }
  blank[2] = 0;
  size_t used = blank + 4 - c->head - before;
  begin_body(c);
  return used;
}

static size_t read_data(Connection *c, const char *bytes, size_t length) {
  size_t part = length < (size_t)c->left ? length : (size_t)c->left;
  read_text(c, bytes, part);
  c->left -= part;
  return part;
}

static size_t read_chunked(Connection *c, const char *bytes, size_t length) {
  char next = *bytes;
  switch (c->chunk) {
    case DATA: {
      size_t used = read_data(c, bytes, length);
      if (!c->left) c->chunk = DATA_END;
      return used;
    }
    case SIZE:
    case SIZE_EXTENSION:
      if (next == '\n')
        c->chunk = c->left ? DATA : TRAILER;
      else if (next == ';')
        c->chunk = SIZE_EXTENSION;
      else if (c->chunk == SIZE && next != '\r')
        c->left = c->left * 16 + (next <= '9' ? next - '0' : (next | 32) - 'a' + 10);
      break;
    case DATA_END:
      if (next == '\n') c->chunk = SIZE;
      break;
    case TRAILER:  // always empty here
      if (next == '\n') finish(c, 1);
  }
  return 1;
}

static size_t read_body(Connection *c, const char *bytes, size_t length) {
  if (c->framing == BY_CHUNKS) return read_chunked(c, bytes, length);
  if (c->framing == BY_CLOSE) {
    read_text(c, bytes, length);
    return length;
  }
  size_t used = read_data(c, bytes, length);
  if (!c->left) finish(c, 1);
  return used;
}

static void on_input(Connection *c) {
  static char bytes[READ];
  ssize_t got = recv(c->fd, bytes, sizeof bytes, 0);
  if (got > 0) {
    for (ssize_t used = 0; used < got && c->phase != IDLE;)
      used += (c->phase == HEAD ? read_head : read_body)(c, bytes + used, got - used);
  } else if (got < 0 && errno == EAGAIN) {
    return;
  } else if (c->phase == BODY && c->framing == BY_CLOSE) {
    finish(c, 1);
  } else if (c->phase == HEAD && !c->head_length && c->reused) {
    hang_up(c);  // a kept-alive connection was closed as we asked: ask again
    begin(c);
  } else {
    finish(c, 0);
  }
}

static void on_output(Connection *c) {
  if (!c->connected) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
      finish(c, 0);
      return;
    }
    c->connected = 1;
  }
  write_request(c);
}

static void make_request(const char *path, const char *headers, const char *body_file) {
  char *body = malloc(LONGEST_BODY);
  FILE *file = fopen(body_file, "r");
  if (!file) {
    perror(body_file);
    exit(2);
  }
  size_t length = fread(body, 1, LONGEST_BODY, file);
  fclose(file);
  request = malloc(length + LONGEST_HEAD);
  request_length = snprintf(request, LONGEST_HEAD,
                            "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
                            "Content-Type: application/json\r\nAccept: */*\r\n%s"
                            "Content-Length: %zu\r\n\r\n",
                            path, port, headers, length);
  memcpy(request + request_length, body, length);
  request_length += length;
  free(body);
}

static int busy(const Connection *connections, int opened) {
  int count = 0;
  for (int i = 0; i < opened; i++) count += connections[i].phase != IDLE;
  return count;
}

static void run(int connection_count, double seconds, int ramp_ms) {
  Connection *connections = calloc(connection_count, sizeof *connections);
  struct epoll_event ready[MAX_READY];
  u64 began = now_ns(), until = seconds ? began + (u64)(seconds * 1e9) : 0;
  int opened = 0;
  for (;;) {
    u64 now = now_ns();
    if (until && now >= until) stopping = 1;
    if (until && now >= until + DRAIN_SECONDS * 1000000000ull) break;
    while (opened < connection_count && !stopping &&
           (!ramp_ms || opened <= (now - began) / 1e6 / ramp_ms * connection_count))
      ask(&connections[opened++]);
    int no_more = stopping || (max_requests && asked >= (u64)max_requests);
    if (no_more && !busy(connections, opened)) break;
    int count = epoll_wait(epoll, ready, MAX_READY, opened < connection_count ? 1 : 100);
    for (int i = 0; i < count; i++) {
      Connection *c = ready[i].data.ptr;
      if (c->open && c->phase == HEAD && ready[i].events & EPOLLOUT) on_output(c);
      if (c->open && ready[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) on_input(c);
    }
  }
  errors += busy(connections, opened);
  double took = ((last_ns ? last_ns : now_ns()) - began) / 1e9;
  printf("{\"seconds\":%.3f,\"done\":%llu,\"errors\":%llu,\"events\":%llu,\"dials\":%llu", took, done,
         errors, events.total, dials);
  print_quantiles("answer", &answers);
  print_quantiles("first", &firsts);
  print_quantiles("event", &events);
  printf("}\n");
}

int main(int argc, char **argv) {
  char *path = "/", *body_file = "", headers[LONGEST_HEAD / 2] = "";
  int connection_count = 1, ramp_ms = 0, option;
  double seconds = 0;
  signal(SIGPIPE, SIG_IGN);
  while ((option = getopt(argc, argv, "p:u:b:c:n:t:r:e:H:")) != -1) {
    size_t used = strlen(headers);
    switch (option) {
      case 'p': port = atoi(optarg); break;
      case 'u': path = optarg; break;
      case 'b': body_file = optarg; break;
      case 'c': connection_count = atoi(optarg); break;
      case 'n': max_requests = atol(optarg); break;
      case 't': seconds = atof(optarg); break;
      case 'r': ramp_ms = atoi(optarg); break;
      case 'e': expected_events = atoi(optarg); break;
      case 'H': snprintf(headers + used, sizeof headers - used, "%s\r\n", optarg); break;
      default: return 2;
    }
  }
  if (!max_requests && !seconds) {
    fprintf(stderr, "loadgen: -n or -t must bound the run\n");
    return 2;
  }
  make_request(path, headers, body_file);
  epoll = epoll_create1(0);
  run(connection_count, seconds, ramp_ms);
}
