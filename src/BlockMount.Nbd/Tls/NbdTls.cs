using System.Net.Security;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;

namespace BlockMount.Nbd.Tls;

/// <summary>TLS as a server offers it: TLS 1.2 and 1.3, with X.509 certificates.</summary>
public sealed class NbdTls
{
    private const string ClientAuthentication = "1.3.6.1.5.5.7.3.2";

    private readonly TlsCertificates _certificates;
    private readonly bool _verifyPeer;

    /// <param name="certificates">Whom the server is, and whom it believes.</param>
    /// <param name="mode">Whether clients may or must start TLS.</param>
    /// <param name="verifyPeer">Whether a client needs a certificate that the authority has signed.</param>
    public NbdTls(TlsCertificates certificates, NbdTlsMode mode = NbdTlsMode.Require, bool verifyPeer = false)
    {
        _certificates = certificates;
        Mode = mode;
        _verifyPeer = verifyPeer;
    }

    public NbdTlsMode Mode { get; }

    /// <summary>The options of one handshake.</summary>
    /// <param name="refused">Told why a client's certificate is not believed.</param>
    internal SslServerAuthenticationOptions Options(Action<string> refused)
    {
        var options = new SslServerAuthenticationOptions
        {
            ServerCertificateContext = _certificates.Server,
            EnabledSslProtocols = SslProtocols.Tls12 | SslProtocols.Tls13,
            EncryptionPolicy = EncryptionPolicy.RequireEncryption,
            AllowRenegotiation = false,

            // A resumed session would skip the look at the client's certificate.
            AllowTlsResume = false,
            ClientCertificateRequired = _verifyPeer,
            CertificateRevocationCheckMode = X509RevocationMode.NoCheck,
        };
        if (_verifyPeer)
        {
            options.CertificateChainPolicy = _certificates.ChainPolicy(ClientAuthentication);
            options.RemoteCertificateValidationCallback = (_, certificate, chain, errors) =>
            {
                if (certificate is null || errors.HasFlag(SslPolicyErrors.RemoteCertificateNotAvailable))
                {
                    refused("it shows no certificate");
                    return false;
                }

                if (errors != SslPolicyErrors.None)
                {
                    refused($"its certificate is not believed: {TlsCertificates.Reason(chain)}");
                    return false;
                }

                return true;
            };
        }

        return options;
    }
}
