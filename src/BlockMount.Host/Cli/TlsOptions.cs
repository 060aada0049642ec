using System.CommandLine;
using BlockMount.Core.Errors;
using BlockMount.Nbd.Tls;

namespace BlockMount.Host.Cli;

/// <summary>The options about TLS.</summary>
internal sealed class TlsOptions
{
    private readonly Option<string?> _certificates = new("--tls-certificates")
    {
        Description = $"Folder with {TlsCertificates.AuthorityFile}, {TlsCertificates.CertificateFile} and {TlsCertificates.KeyFile}: TLS for TCP clients; "
            + "a Unix socket has its mode and stays plain",
        HelpName = "DIR",
    };

    private readonly Option<string?> _mode = new("--tls") { Description = "Whether TCP clients may or must start TLS; with certificates they must", HelpName = "off|on|require" };

    private readonly Option<bool> _verifyPeer = new("--tls-verify-peer") { Description = $"Clients need a certificate that {TlsCertificates.AuthorityFile} has signed" };

    public TlsOptions() => _mode.AcceptOnlyFromAmong("off", "on", "require");

    public void AddTo(Command command)
    {
        command.Add(_certificates);
        command.Add(_mode);
        command.Add(_verifyPeer);
    }

    /// <summary>Loads the certificates; null without TLS.</summary>
    /// <exception cref="DiskException">The files cannot be used, or the options make no sense together.</exception>
    public NbdTls? Read(ParseResult result)
    {
        var mode = result.GetValue(_mode) switch
        {
            "off" => NbdTlsMode.Off,
            "on" => NbdTlsMode.On,
            "require" => NbdTlsMode.Require,
            _ => (NbdTlsMode?)null,
        };
        var verifyPeer = result.GetValue(_verifyPeer);
        if (result.GetValue(_certificates) is not { } directory)
        {
            return mode is null or NbdTlsMode.Off && !verifyPeer
                ? null
                : throw new DiskException(ErrorKind.InvalidArgument, $"{(verifyPeer ? "--tls-verify-peer" : "--tls")} needs --tls-certificates DIR.");
        }

        if (mode == NbdTlsMode.Off)
        {
            return verifyPeer ? throw new DiskException(ErrorKind.InvalidArgument, "--tls-verify-peer does not go with --tls off.") : null;
        }

        var certificates = TlsCertificates.Load(directory);
        if (certificates.Warning is { } warning)
        {
            Console.Error.WriteLine($"blockmount: warning: {warning}");
        }

        return new NbdTls(certificates, mode ?? NbdTlsMode.Require, verifyPeer);
    }
}
