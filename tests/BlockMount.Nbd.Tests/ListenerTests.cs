using System.Diagnostics;
using System.Net.Sockets;
using System.Runtime.Versioning;
using BlockMount.Core.Errors;
using BlockMount.Nbd.Listening;
using BlockMount.TestSupport;

namespace BlockMount.Nbd.Tests;

[SupportedOSPlatform("linux")]
public sealed class ListenerTests : IDisposable
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Only_the_user_may_connect_and_nothing_is_left_behind()
    {
        var path = _folder["sub/dir/s.sock"];
        using (var listener = UnixSocketListener.Bind(path))
        {
            Assert.Equal(OwnerOnly, File.GetUnixFileMode(path));
            Assert.Equal(OwnerOnly | UnixFileMode.UserExecute, File.GetUnixFileMode(_folder["sub/dir"]));
            Assert.Equal(OwnerOnly, File.GetUnixFileMode(path + ".lock"));
            Assert.Equal(["s.sock", "s.sock.lock"], Names("sub/dir"));
            Connect(path);
        }

        Assert.Empty(Names("sub/dir"));
    }

    [Fact]
    public void Mode_and_what_is_to_be_prepared_hold_before_the_socket_can_be_seen()
    {
        const UnixFileMode group = OwnerOnly | UnixFileMode.GroupRead | UnixFileMode.GroupWrite;
        using (UnixSocketListener.Bind(_folder["s"], group, prepared =>
        {
            Assert.False(File.Exists(_folder["s"]));
            Assert.True(File.Exists(prepared));
            Assert.Equal(OwnerOnly | UnixFileMode.UserExecute, File.GetUnixFileMode(Path.GetDirectoryName(prepared)!));
        }))
        {
            Assert.Equal(group, File.GetUnixFileMode(_folder["s"]));
            Connect(_folder["s"]);
        }

        Assert.Empty(Names(""));
    }

    [Fact]
    public void A_socket_that_cannot_be_prepared_leaves_nothing_behind()
    {
        Assert.Throws<DiskException>(() => UnixSocketListener.Bind(
            _folder["s"], OwnerOnly, _ => throw new DiskException(ErrorKind.AccessDenied, "not yours to give")));
        Assert.Empty(Names(""));
    }

    [Fact]
    public void A_path_that_is_served_is_not_taken()
    {
        using var first = UnixSocketListener.Bind(_folder["s"]);
        var error = Assert.Throws<DiskException>(() => UnixSocketListener.Bind(_folder["s"]));
        Assert.Equal(ErrorKind.Busy, error.Kind);
        Connect(_folder["s"]);
    }

    [Fact]
    public void A_path_that_is_served_by_another_program_is_not_taken()
    {
        using var stranger = Stranger(_folder["s"]);
        var error = Assert.Throws<DiskException>(() => UnixSocketListener.Bind(_folder["s"]));
        Assert.Equal(ErrorKind.Busy, error.Kind);
        Assert.Equal(["s"], Names(""));
        Connect(_folder["s"]);
    }

    [Fact]
    public async Task A_socket_left_by_a_killed_server_is_replaced()
    {
        Peer.Require("nbdkit", "nbdkit");
        using (var killed = Process.Start(new ProcessStartInfo("nbdkit", ["-f", "-U", _folder["s"], "memory", "1M"]) { UseShellExecute = false })!)
        {
            await Support.TestServer.UntilAsync(() => File.Exists(_folder["s"]), "nbdkit's socket");
            killed.Kill();
            await killed.WaitForExitAsync();
        }

        Assert.True(File.Exists(_folder["s"]));
        using (UnixSocketListener.Bind(_folder["s"]))
        {
            Connect(_folder["s"]);
        }

        Assert.Empty(Names(""));
    }

    [Theory]
    [InlineData("text")]
    [InlineData("")]
    public void A_file_at_the_path_is_never_touched(string content)
    {
        File.WriteAllText(_folder["s"], content);
        var error = Assert.Throws<DiskException>(() => UnixSocketListener.Bind(_folder["s"]));
        Assert.Equal(ErrorKind.AlreadyExists, error.Kind);
        Assert.Equal(content, File.ReadAllText(_folder["s"]));
        Assert.Equal(["s"], Names(""));
    }

    [Fact]
    public void A_directory_or_link_at_the_path_is_never_touched()
    {
        Directory.CreateDirectory(_folder["d"]);
        File.CreateSymbolicLink(_folder["l"], _folder["nowhere"]);
        Assert.Equal(ErrorKind.AlreadyExists, Assert.Throws<DiskException>(() => UnixSocketListener.Bind(_folder["d"])).Kind);
        Assert.Equal(ErrorKind.AlreadyExists, Assert.Throws<DiskException>(() => UnixSocketListener.Bind(_folder["l"])).Kind);
        Assert.Equal(["d", "l"], Names(""));
    }

    [Fact]
    public void A_path_of_107_bytes_works_and_one_of_108_is_refused_in_a_sentence()
    {
        var directory = _folder[new string('d', 107 - _folder.Root.Length - 4)];
        var longest = Path.Combine(directory, "s");
        Assert.Equal(106, longest.Length);
        foreach (var path in (string[])[longest, longest + "t"])
        {
            using var listener = UnixSocketListener.Bind(path);
            Assert.Equal(OwnerOnly, File.GetUnixFileMode(path));
            Connect(path);
        }

        Assert.Empty(Directory.GetFileSystemEntries(directory));
        var error = Assert.Throws<DiskException>(() => UnixSocketListener.Bind(longest + "tu"));
        Assert.Equal(ErrorKind.InvalidArgument, error.Kind);
        Assert.Contains("at most 107 bytes, this one has 108", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_socket_that_somebody_put_in_the_place_of_ours_is_left_to_them()
    {
        Socket stranger;
        using (UnixSocketListener.Bind(_folder["s"]))
        {
            File.Delete(_folder["s"]);
            Thread.Sleep(20);
            stranger = Stranger(_folder["s"]);
        }

        using (stranger)
        {
            Connect(_folder["s"]);
            Assert.Equal(["s"], Names(""));
        }
    }

    [Fact]
    public void Disposing_twice_removes_nothing_of_a_successor()
    {
        var first = UnixSocketListener.Bind(_folder["s"]);
        first.Dispose();
        using var second = UnixSocketListener.Bind(_folder["s"]);
        first.Dispose();
        Connect(_folder["s"]);
    }

    [Fact]
    public async Task Of_many_servers_starting_at_one_path_exactly_one_serves_it_at_any_time()
    {
        var holders = 0;
        var bound = 0;
        await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => Task.Run(() =>
        {
            for (var i = 0; i < 50; i++)
            {
                try
                {
                    using var listener = UnixSocketListener.Bind(_folder["s"]);
                    Assert.Equal(1, Interlocked.Increment(ref holders));
                    Connect(_folder["s"]);
                    Interlocked.Increment(ref bound);
                    Interlocked.Decrement(ref holders);
                }
                catch (DiskException e)
                {
                    Assert.Equal(ErrorKind.Busy, e.Kind);
                }
            }
        })));
        Assert.True(bound > 0, "somebody got it");
        Assert.Empty(Names(""));
    }

    [Theory]
    [InlineData("127.0.0.1")]
    [InlineData("127.0.0.1:70000")]
    [InlineData("::1:10809")]
    [InlineData("localhost:10809")]
    [InlineData(":10809")]
    [InlineData("")]
    public void An_address_that_is_not_an_address_and_a_port_is_refused_in_a_sentence(string address)
    {
        var error = Assert.Throws<DiskException>(() => TcpListenerSocket.Bind(address));
        Assert.Equal(ErrorKind.InvalidArgument, error.Kind);
        Assert.Contains("127.0.0.1:10809", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_port_in_use_is_busy()
    {
        using var first = TcpListenerSocket.Bind("127.0.0.1:0");
        var error = Assert.Throws<DiskException>(() => TcpListenerSocket.Bind(first.LocalEndPoint!.ToString()!));
        Assert.Equal(ErrorKind.Busy, error.Kind);
    }

    [Fact]
    public void Sockets_meant_for_another_process_are_not_taken()
    {
        using var variables = Activation("1", "1");
        Assert.Empty(SocketActivation.Take(static _ => { }));
        Assert.Equal("1", Environment.GetEnvironmentVariable("LISTEN_FDS"));
    }

    [Fact]
    public async Task A_passed_socket_is_taken_once_and_serves()
    {
        var passed = Stranger(_folder["s"]);
        using var variables = Activation("1", $"{Environment.ProcessId}");
        var kept = new List<int>();
        var taken = Assert.Single(SocketActivation.Take(kept.Add, (int)passed.SafeHandle.DangerousGetHandle()));
        Assert.Equal([(int)passed.SafeHandle.DangerousGetHandle()], kept);
        passed.SafeHandle.SetHandleAsInvalid();
        Assert.Null(Environment.GetEnvironmentVariable("LISTEN_FDS"));
        Assert.Empty(SocketActivation.Take(static _ => { }));
        using (taken)
        {
            await using var server = new NbdServer([new NbdExport("disk", new MemoryDevice(4096))]);
            server.Listen(taken);
            using var client = new Support.RawClient(_folder["s"]);
            client.Greeting();
        }
    }

    [Fact]
    public void A_passed_descriptor_that_is_no_stream_socket_is_an_error()
    {
        using var file = File.OpenHandle(_folder["file"], FileMode.Create, FileAccess.ReadWrite);
        Refused((int)file.DangerousGetHandle(), "Unknown");
        RandomAccess.Write(file, "still open"u8, 0);
        using var datagrams = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
        Refused((int)datagrams.SafeHandle.DangerousGetHandle(), "Dgram");

        static void Refused(int descriptor, string type)
        {
            var error = Assert.Throws<DiskException>(() => SocketActivation.Adopt(descriptor));
            Assert.Equal(ErrorKind.InvalidArgument, error.Kind);
            Assert.StartsWith($"Descriptor {descriptor}, which was passed on, is no stream socket", error.Message, StringComparison.Ordinal);
            Assert.Contains(type, error.Message, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("0")]
    [InlineData("-1")]
    [InlineData("many")]
    [InlineData("65")]
    public void A_senseless_number_of_passed_sockets_is_an_error(string count)
    {
        using var variables = Activation(count, $"{Environment.ProcessId}");
        Assert.Equal(ErrorKind.InvalidArgument, Assert.Throws<DiskException>(() => SocketActivation.Take(static _ => { })).Kind);
    }

    [Theory]
    [InlineData("/run/a.sock", "", "nbd+unix:///?socket=/run/a.sock")]
    [InlineData("/run/my disk&x.sock", "C: ü", "nbd+unix:///C%3A%20%C3%BC?socket=/run/my%20disk%26x.sock")]
    public void A_uri_escapes_what_it_must(string path, string name, string expected) => Assert.Equal(expected, NbdUri.ForUnixSocket(path, name));

    private static Variables Activation(string count, string process)
    {
        Environment.SetEnvironmentVariable("LISTEN_FDS", count);
        Environment.SetEnvironmentVariable("LISTEN_PID", process);
        return new Variables();
    }

    private static Socket Stranger(string path)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Bind(new UnixDomainSocketEndPoint(path));
        socket.Listen();
        return socket;
    }

    private static void Connect(string path)
    {
        using var client = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        client.Connect(new UnixDomainSocketEndPoint(path));
    }

    private List<string> Names(string directory) =>
        [.. Directory.GetFileSystemEntries(_folder[directory]).Select(p => Path.GetFileName(p)).Order(StringComparer.Ordinal)];

    private sealed class Variables : IDisposable
    {
        public void Dispose()
        {
            Environment.SetEnvironmentVariable("LISTEN_FDS", null);
            Environment.SetEnvironmentVariable("LISTEN_PID", null);
        }
    }
}
