using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace BlockMount.TestSupport;

/// <summary>A certificate authority of one test, and the files that it issues under the names NBD programs look for.</summary>
internal sealed class TestAuthority : IDisposable
{
    public const string ForServers = "1.3.6.1.5.5.7.3.1";
    public const string ForClients = "1.3.6.1.5.5.7.3.2";

    private readonly ECDsa _key = ECDsa.Create(ECCurve.NamedCurves.nistP256);

    public TestAuthority(string name = "test authority")
    {
        var request = new CertificateRequest($"CN={name}", _key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(certificateAuthority: true, hasPathLengthConstraint: false, 0, critical: true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.KeyCertSign | X509KeyUsageFlags.CrlSign, critical: true));
        request.CertificateExtensions.Add(new X509SubjectKeyIdentifierExtension(request.PublicKey, critical: false));
        Certificate = request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-10), DateTimeOffset.UtcNow.AddDays(10));
    }

    public X509Certificate2 Certificate { get; }

    /// <summary>A certificate for localhost with its private key.</summary>
    public X509Certificate2 Issue(string purpose = ForServers, int fromDay = -1, int toDay = 1)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=localhost", key, HashAlgorithmName.SHA256);
        var names = new SubjectAlternativeNameBuilder();
        names.AddDnsName("localhost");
        names.AddIpAddress(IPAddress.Loopback);
        request.CertificateExtensions.Add(names.Build());
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(certificateAuthority: false, hasPathLengthConstraint: false, 0, critical: true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.DigitalSignature, critical: true));
        request.CertificateExtensions.Add(new X509EnhancedKeyUsageExtension([new Oid(purpose)], critical: false));
        using var issued = request.Create(
            Certificate, DateTimeOffset.UtcNow.AddDays(fromDay), DateTimeOffset.UtcNow.AddDays(toDay), RandomNumberGenerator.GetBytes(8));
        return issued.CopyWithPrivateKey(key);
    }

    /// <summary>Writes ca-cert.pem, server-cert.pem and server-key.pem, as a server wants them.</summary>
    public string WriteServer(string directory, X509Certificate2? certificate = null)
    {
        using var issued = Issue();
        return Write(directory, "server", certificate ?? issued);
    }

    /// <summary>Writes ca-cert.pem, client-cert.pem and client-key.pem, as a client wants them.</summary>
    public string WriteClient(string directory, X509Certificate2? certificate = null)
    {
        using var issued = Issue(ForClients);
        return Write(directory, "client", certificate ?? issued);
    }

    /// <summary>Writes ca-cert.pem alone: a client that knows whom to believe and shows nothing itself.</summary>
    public string WriteAuthority(string directory)
    {
        Directory.CreateDirectory(directory);
        File.WriteAllText(Path.Combine(directory, "ca-cert.pem"), Certificate.ExportCertificatePem());
        return directory;
    }

    public void Dispose()
    {
        Certificate.Dispose();
        _key.Dispose();
    }

    private string Write(string directory, string name, X509Certificate2 certificate)
    {
        WriteAuthority(directory);
        File.WriteAllText(Path.Combine(directory, $"{name}-cert.pem"), certificate.ExportCertificatePem());
        using var key = certificate.GetECDsaPrivateKey()!;
        var path = Path.Combine(directory, $"{name}-key.pem");
        File.WriteAllText(path, key.ExportPkcs8PrivateKeyPem());
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        return directory;
    }
}
