using BlockMount.Core.Devices;
using BlockMount.Nbd.Listening;
using BlockMount.Platform.Engine;
using BlockMount.TestSupport;
using Microsoft.Extensions.Logging;

namespace BlockMount.Nbd.Tests.Support;

/// <summary>A server on a Unix socket in a folder of its own.</summary>
internal sealed class TestServer : IAsyncDisposable
{
    private readonly TempFolder _folder = new();
    private readonly UnixSocketListener _listener;

    public TestServer(BlockDevice device, NbdServerOptions? options = null, ILogger<NbdServer>? log = null)
        : this([new NbdExport("disk", device) { Trim = true, AllocationDepth = true, Description = "a disk" }], options, log)
    {
    }

    public TestServer(IEnumerable<NbdExport> exports, NbdServerOptions? options = null, ILogger<NbdServer>? log = null)
    {
        _listener = UnixSocketListener.Bind(_folder["s"]);
        Server = new NbdServer(exports, (options ?? new NbdServerOptions()) with { IoLoop = UsesThreads ? null : RingLoop.TryCreate }, log);
        Server.Listen(_listener.Socket);
    }

    /// <summary>Whether connections block on their clients, as they do where there is no io_uring, and not in a loop.</summary>
    public static bool UsesThreads => Environment.GetEnvironmentVariable("BLOCKMOUNT_TEST_IO") == "threads";

    public NbdServer Server { get; }

    public string Path => _listener.Path;

    public string Folder => _folder.Root;

    public string Uri => NbdUri.ForUnixSocket(Path, "disk");

    /// <summary>A connection on which nothing has been said.</summary>
    public RawClient Connect() => new(Path);

    /// <summary>A connection past the handshake.</summary>
    public RawClient Go(bool structured = true, string name = "disk", params string[] contexts) =>
        Go(structured ? NbdReplyStyle.Structured : NbdReplyStyle.Simple, name, contexts);

    /// <summary>As above, with any style.</summary>
    public RawClient Go(NbdReplyStyle style, string name = "disk", params string[] contexts)
    {
        var client = Connect();
        client.Handshake();
        if (style != NbdReplyStyle.Simple)
        {
            client.Option(style == NbdReplyStyle.Extended ? NbdConstants.NBD_OPT_EXTENDED_HEADERS : NbdConstants.NBD_OPT_STRUCTURED_REPLY);
            Assert.Equal(NbdConstants.NBD_REP_ACK, client.OptionReply().Type);
        }

        if (contexts.Length > 0)
        {
            client.Option(NbdConstants.NBD_OPT_SET_META_CONTEXT, RawClient.MetaPayload(name, contexts));
            Assert.Equal(NbdConstants.NBD_REP_ACK, client.OptionReplies()[^1].Type);
        }

        client.Option(NbdConstants.NBD_OPT_GO, RawClient.GoPayload(name));
        Assert.Equal(NbdConstants.NBD_REP_ACK, client.OptionReplies()[^1].Type);
        client.Style = style;
        return client;
    }

    /// <summary>Waits until a condition holds that another thread brings about.</summary>
    public static async Task UntilAsync(Func<bool> condition, string what, int seconds = 20)
    {
        var deadline = Environment.TickCount64 + (seconds * 1000L);
        while (!condition())
        {
            Assert.True(Environment.TickCount64 < deadline, $"{what} did not happen within {seconds} s");
            await Task.Delay(10);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await Server.DisposeAsync();
        _listener.Dispose();
        _folder.Dispose();
    }
}
