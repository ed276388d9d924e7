/*
 * The rig's remote shell: the one program the host adds to the guest.
 *
 * Why C and not sshd, socat or Node: under software emulation a Node start costs seconds and an ssh key exchange
 * costs more; this costs a fork and a /bin/sh, and it keeps stdout, stderr and the exit code apart.
 *
 * One TCP connection is one command. Both directions carry frames: one byte of type, four bytes of length (big endian),
 * then that many bytes.
 *   agent -> host   'H' ready, the text is the boot id   'O' stdout   'R' stderr   'X' four bytes: exit code, the last frame
 *   host -> agent   'C' the command for /bin/sh -c, the first frame   'I' stdin   'E' end of stdin, length 0
 * A command killed by signal n reports 128 + n. When the host closes the connection first, the whole process group of
 * the command is killed: that is how a time limit on the host ends the work in the guest.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FRAME_MAX = 1 << 20, CHUNK = 16384, HEADER = 5 };

static int write_all(int fd, const void *data, size_t length) {
  const char *at = data;
  while (length > 0) {
    ssize_t n = write(fd, at, length);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return -1;
    at += n;
    length -= (size_t)n;
  }
  return 0;
}

static int read_all(int fd, void *data, size_t length) {
  char *at = data;
  while (length > 0) {
    ssize_t n = read(fd, at, length);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return -1;
    at += n;
    length -= (size_t)n;
  }
  return 0;
}

/* Header and payload leave in one write: two would be two packets, and two interrupts in the emulated NIC. */
static int send_frame(int fd, char type, const void *data, uint32_t length) {
  char packet[HEADER + CHUNK];
  uint32_t size = htonl(length);
  packet[0] = type;
  memcpy(packet + 1, &size, sizeof size);
  memcpy(packet + HEADER, data, length);
  return write_all(fd, packet, HEADER + length);
}

/* Returns the payload (NUL terminated, to be freed) or NULL when the connection is gone or talks nonsense. */
static char *receive_frame(int fd, char *type, uint32_t *length) {
  char header[HEADER];
  if (read_all(fd, header, sizeof header) < 0) return NULL;
  *type = header[0];
  memcpy(length, header + 1, sizeof *length);
  *length = ntohl(*length);
  if (*length > FRAME_MAX) return NULL;
  char *data = malloc(*length + 1);
  if (data == NULL || read_all(fd, data, *length) < 0) {
    free(data);
    return NULL;
  }
  data[*length] = 0;
  return data;
}

/* Sends what a pipe holds now. Returns 0 at its end, 1 when more may come, -1 when the host is gone. */
static int forward(int pipe_fd, int host, char type) {
  char data[CHUNK];
  for (;;) {
    ssize_t n = read(pipe_fd, data, sizeof data);
    if (n < 0) return errno == EAGAIN || errno == EINTR ? 1 : 0;
    if (n == 0) return 0;
    if (send_frame(host, type, data, (uint32_t)n) < 0) return -1;
  }
}

static void shut(int *fd) {
  close(*fd);
  *fd = -1; /* poll passes over it */
}

static void run(int host, const char *command) {
  int in[2], out[2], err[2];
  if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0) return;
  pid_t child = fork();
  if (child < 0) return;
  if (child == 0) {
    setsid();
    signal(SIGPIPE, SIG_DFL);
    dup2(in[0], 0);
    dup2(out[1], 1);
    dup2(err[1], 2);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
  }
  close(in[0]);
  close(out[1]);
  close(err[1]);
  fcntl(in[1], F_SETFL, O_NONBLOCK);
  fcntl(out[0], F_SETFL, O_NONBLOCK);
  fcntl(err[0], F_SETFL, O_NONBLOCK);
  int ended = (int)syscall(SYS_pidfd_open, child, 0);
  char *input = NULL;
  uint32_t input_length = 0, input_at = 0;

  for (;;) {
    /* While the command has not taken its input, nothing more is read from the host: that is the back pressure. */
    struct pollfd on[] = {
        {.fd = host, .events = input == NULL ? POLLIN | POLLRDHUP : POLLRDHUP},
        {.fd = input == NULL ? -1 : in[1], .events = POLLOUT},
        {.fd = out[0], .events = POLLIN},
        {.fd = err[0], .events = POLLIN},
        {.fd = ended, .events = POLLIN},
    };
    if (poll(on, 5, -1) < 0) {
      if (errno == EINTR) continue;
      break;
    }
    if (on[2].revents) {
      int more = forward(out[0], host, 'O');
      if (more < 0) break;
      if (more == 0) shut(&out[0]);
    }
    if (on[3].revents) {
      int more = forward(err[0], host, 'R');
      if (more < 0) break;
      if (more == 0) shut(&err[0]);
    }
    if (on[4].revents) {
      /* What the command wrote is in the pipes by now; a child it left behind must not hold the answer back. */
      if (out[0] >= 0 && forward(out[0], host, 'O') < 0) break;
      if (err[0] >= 0 && forward(err[0], host, 'R') < 0) break;
      int status = 0;
      waitpid(child, &status, 0);
      uint32_t code = htonl(WIFSIGNALED(status) ? 128u + (uint32_t)WTERMSIG(status) : (uint32_t)WEXITSTATUS(status));
      send_frame(host, 'X', &code, sizeof code);
      return;
    }
    if (on[1].revents) {
      ssize_t n = write(in[1], input + input_at, input_length - input_at);
      if (n > 0) input_at += (uint32_t)n;
      /* A command that closed its stdin does not fail because of that: the rest is dropped. */
      int closed = n < 0 && errno != EAGAIN && errno != EINTR;
      if (closed || input_at == input_length) {
        free(input);
        input = NULL;
      }
      if (closed) shut(&in[1]);
    }
    if (on[0].revents & (POLLERR | POLLHUP | POLLRDHUP)) break;
    if (on[0].revents & POLLIN) {
      char type = 0;
      char *data = receive_frame(host, &type, &input_length);
      if (data == NULL) break;
      if (type == 'I' && in[1] >= 0 && input_length > 0) {
        input = data;
        input_at = 0;
      } else {
        if (type == 'E' && in[1] >= 0) shut(&in[1]);
        free(data);
      }
    }
  }
  kill(-child, SIGKILL);
}

static void serve(int host) {
  char boot_id[64] = "", type = 0;
  uint32_t length = 0;
  int on = 1;
  setsockopt(host, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
  if (file != NULL) {
    if (fgets(boot_id, sizeof boot_id, file) != NULL) boot_id[strcspn(boot_id, "\n")] = 0;
    fclose(file);
  }
  if (send_frame(host, 'H', boot_id, (uint32_t)strlen(boot_id)) < 0) return;
  char *command = receive_frame(host, &type, &length);
  if (command != NULL && type == 'C') run(host, command);
}

int main(int argc, char **argv) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
  int on = 1;
  if (argc != 2) {
    fprintf(stderr, "usage: rig-agent PORT\n");
    return 64;
  }
  address.sin_port = htons((uint16_t)atoi(argv[1]));
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 16) < 0) {
    perror("rig-agent: cannot listen");
    return 1;
  }
  signal(SIGCHLD, SIG_IGN);
  for (;;) {
    int host = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (host < 0) continue;
    if (fork() == 0) {
      close(listener);
      signal(SIGCHLD, SIG_DFL);
      signal(SIGPIPE, SIG_IGN); /* a command that closed its stdin, a host that went away: errors, not our death */
      serve(host);
      _exit(0);
    }
    close(host);
  }
}
