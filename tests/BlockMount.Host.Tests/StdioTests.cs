using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary><c>serve --stdio</c>: one client on standard input and output, whatever these are.</summary>
public sealed class StdioTests : IDisposable
{
    private const int Size = 8 << 20;

    private readonly TempFolder _folder = new();
    private readonly byte[] _content = new byte[Size];

    public StdioTests()
    {
        new Random(3).NextBytes(_content);
        File.WriteAllBytes(_folder["disk.raw"], _content);
    }

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task A_client_that_starts_the_server_reads_and_writes_through_a_socket_pair()
    {
        await Nbdsh.RunAsync($$"""
            h.connect_command([program, "serve", "--stdio", "-f", "raw", {{Disk}}])
            expected = open({{Disk}}, "rb").read()
            assert h.get_size() == len(expected)
            assert not h.can_multi_conn()
            assert h.pread(5 << 20, 4097) == expected[4097:4097 + (5 << 20)]
            h.pwrite(b"x" * (1 << 20), 12345)
            h.shutdown()
            """);
        await WrittenAsync(12345, 1 << 20);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Two_plain_pipes_do_and_the_end_of_one_is_as_good_as_a_farewell(bool farewell)
    {
        await Nbdsh.RunAsync($$"""
            p = subprocess.Popen([program, "serve", "--stdio", "--verbose", "-f", "raw", {{Disk}}],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            expected = open({{Disk}}, "rb").read()
            assert exactly(p.stdout, 18) == b"NBDMAGICIHAVEOPT\0\3"
            p.stdin.write(struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">II", 1, 0))
            p.stdin.flush()
            assert struct.unpack(">Q", exactly(p.stdout, 10)[:8])[0] == len(expected)
            for length in [1, 4096, 4097, 300000, 7 << 20]:
                p.stdin.write(request(0, 777, length))
                p.stdin.flush()
                assert exactly(p.stdout, 16) == struct.pack(">IIQ", 0x67446698, 0, 1)
                assert exactly(p.stdout, length) == expected[777:777 + length]
            p.stdin.write(request(1, 12345, 1 << 20) + b"x" * (1 << 20))
            p.stdin.flush()
            assert exactly(p.stdout, 16) == struct.pack(">IIQ", 0x67446698, 0, 1)
            if {{(farewell ? "True" : "False")}}:
                p.stdin.write(request(2, 0, 0))
                p.stdin.flush()
            else:
                p.stdin.close()
            assert p.stdout.read() == b"", "nothing but the protocol is printed"
            log = p.stderr.read()
            assert b"connected to export" in log, log
            assert p.wait(20) == 0
            """);
        await WrittenAsync(12345, 1 << 20);
    }

    [Fact]
    public async Task A_file_of_bytes_may_be_the_client()
    {
        File.WriteAllBytes(_folder["case"], [0, 0, 0, 3, .. "IHAVEOPT"u8, 0, 0, 0, 2, 0, 0, 0, 0]);
        await Peer.RunOkAsync("/bin/sh", "-c", $"'{Blockmount.Program}' serve --stdio -f raw '{_folder["disk.raw"]}' < '{_folder["case"]}' > '{_folder["answer"]}'");
        Assert.Equal(18 + 20, new FileInfo(_folder["answer"]).Length);
    }

    [Fact]
    public async Task A_socket_on_all_three_as_inetd_leaves_it_carries_no_log()
    {
        await Nbdsh.RunAsync($$"""
            for blocking in [True, False]:
                ours, theirs = socket.socketpair()
                theirs.setblocking(blocking)
                p = subprocess.Popen([program, "serve", "--stdio", "--verbose", "-f", "raw", {{Disk}}], stdin=theirs, stdout=theirs, stderr=theirs)
                theirs.close()
                n = nbd.NBD()
                n.set_opt_mode(True)
                n.connect_socket(ours.detach())
                time.sleep(0.3)
                n.opt_go()
                time.sleep(0.3)
                assert n.pread(512, 0) == open({{Disk}}, "rb").read(512)
                n.shutdown()
                assert p.wait(20) == 0
            """);
    }

    [Fact]
    public async Task A_tcp_socket_on_standard_input_and_output_may_speak_tls()
    {
        using var authority = new TestAuthority();
        authority.WriteServer(_folder["server"]);
        authority.WriteAuthority(_folder["client"]);
        await Nbdsh.RunAsync($$"""
            listener = socket.create_server(("127.0.0.1", 0))
            ours = socket.create_connection(listener.getsockname())
            theirs, peer = listener.accept()
            p = subprocess.Popen([program, "serve", "--stdio", "-f", "raw", "--tls-certificates", {{Nbdsh.Text(_folder["server"])}}, {{Disk}}], stdin=theirs, stdout=theirs)
            theirs.close()
            h.set_tls(nbd.TLS_REQUIRE)
            h.set_tls_certificates({{Nbdsh.Text(_folder["client"])}})
            h.set_tls_verify_peer(False)
            h.connect_socket(ours.detach())
            assert h.get_tls_negotiated()
            assert h.pread(70000, 1) == open({{Disk}}, "rb").read(70001)[1:]
            h.shutdown()
            assert p.wait(20) == 0
            """);
    }

    [Fact]
    public async Task It_is_listed_with_its_client_and_ends_on_SIGTERM()
    {
        await Nbdsh.RunAsync($$"""
            p = subprocess.Popen([program, "serve", "--stdio", "-f", "raw", {{Disk}}], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            exactly(p.stdout, 18)
            p.stdin.write(struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">II", 1, 0))
            p.stdin.flush()
            exactly(p.stdout, 10)
            for i in range(50):
                host = [x for x in json.loads(subprocess.check_output([program, "list", "--json"])) if x["pid"] == p.pid][0]
                if host["clients"]:
                    break
                time.sleep(0.05)
            assert host["exports"][0]["image"] == {{Disk}}, host
            assert host["sockets"] == ["standard input and output"], host
            assert host["clients"][0]["peer"] == "standard input and output", host
            p.send_signal(signal.SIGTERM)
            assert p.stdout.read() == b""
            assert p.wait(20) == 0
            """);
    }

    [Theory]
    [InlineData("--socket", "x.sock")]
    [InlineData("--tcp", "127.0.0.1:0")]
    [InlineData("--fork")]
    [InlineData("--config", "config")]
    public async Task It_does_not_go_with_other_ways_in(params string[] other)
    {
        File.WriteAllText(_folder["config"], """{"tcp": "127.0.0.1:0", "exports": []}""");
        if (other[0] == "--config")
        {
            other[1] = _folder["config"];
        }

        Assert.Contains("--stdio", await Blockmount.FailsAsync(2, ["serve", "--stdio", .. other, "-f", "raw", _folder["disk.raw"]]), StringComparison.Ordinal);
    }

    [Fact]
    public async Task It_is_not_for_a_terminal()
    {
        Peer.Require("script", "bsdutils");
        var result = await Peer.RunAsync("script", ["-qec", $"'{Blockmount.Program}' serve --stdio -f raw '{_folder["disk.raw"]}'", "/dev/null"]);
        Assert.Equal(2, result.ExitCode);
        Assert.Contains("no terminals", result.Output, StringComparison.Ordinal);
    }

    private string Disk => Nbdsh.Text(_folder["disk.raw"]);

    private async Task WrittenAsync(int offset, int length)
    {
        _content.AsSpan(offset, length).Fill((byte)'x');
        Assert.True((await File.ReadAllBytesAsync(_folder["disk.raw"])).AsSpan().SequenceEqual(_content));
    }
}
