using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using BlockMount.Core.Devices;
using BlockMount.Nbd.Listening;
using BlockMount.Nbd.Tls;
using BlockMount.TestSupport;
using Microsoft.Extensions.Logging;

namespace BlockMount.Nbd.Tests.Support;

/// <summary>A server on a TCP port with certificates of its own authority.</summary>
internal sealed class TlsServer : IAsyncDisposable
{
    private readonly TempFolder _folder = new();
    private readonly Socket _listener;

    public TlsServer(BlockDevice device, NbdTlsMode mode = NbdTlsMode.Require, bool verifyPeer = false, NbdServerOptions? options = null, ILogger<NbdServer>? log = null)
    {
        var certificates = TlsCertificates.Load(Authority.WriteServer(_folder["server"]));
        Clients = Authority.WriteClient(_folder["client"]);
        Authority.WriteAuthority(_folder["anonymous"]);
        _listener = TcpListenerSocket.Bind("127.0.0.1:0");
        Server = new NbdServer(
            [new NbdExport("disk", device) { Trim = true }],
            (options ?? new NbdServerOptions()) with { Tls = new NbdTls(certificates, mode, verifyPeer) },
            log);
        Server.Listen(_listener);
    }

    public TestAuthority Authority { get; } = new();

    public NbdServer Server { get; }

    public int Port => ((IPEndPoint)_listener.LocalEndPoint!).Port;

    /// <summary>Directory with the authority and a client's certificate.</summary>
    public string Clients { get; }

    /// <summary>Directory with the authority alone.</summary>
    public string Anonymous => _folder["anonymous"];

    public string this[string name] => _folder[name];

    public string Uri(string certificates) => $"nbds://localhost:{Port}/disk?tls-certificates={certificates}";

    /// <summary>A connection past the client's flags.</summary>
    public RawClient Connect()
    {
        var client = new RawClient(_listener.LocalEndPoint!);
        client.Handshake();
        return client;
    }

    /// <summary>A connection that has started TLS.</summary>
    public RawClient ConnectTls(SslProtocols protocol = SslProtocols.None)
    {
        var client = Connect();
        client.Option(NbdConstants.NBD_OPT_STARTTLS);
        Assert.Equal(NbdConstants.NBD_REP_ACK, client.OptionReply().Type);
        client.StartTls(ClientOptions(protocol));
        return client;
    }

    /// <summary>What a client that believes this server's authority says.</summary>
    public SslClientAuthenticationOptions ClientOptions(SslProtocols protocol = SslProtocols.None) => new()
    {
        TargetHost = "localhost",
        EnabledSslProtocols = protocol,
        CertificateChainPolicy = new X509ChainPolicy
        {
            TrustMode = X509ChainTrustMode.CustomRootTrust,
            CustomTrustStore = { Authority.Certificate },
            RevocationMode = X509RevocationMode.NoCheck,
        },
    };

    public async ValueTask DisposeAsync()
    {
        await Server.DisposeAsync();
        _listener.Dispose();
        Authority.Dispose();
        _folder.Dispose();
    }
}
