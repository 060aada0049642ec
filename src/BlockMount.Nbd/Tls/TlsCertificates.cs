using System.Globalization;
using System.Net.Security;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using BlockMount.Core.Errors;

namespace BlockMount.Nbd.Tls;

/// <summary>
/// The certificates of a server in a directory, under the names that qemu (docs/system/tls.rst) and nbdkit (nbdkit-tls(1)) use: ca-cert.pem, the authority;
/// server-cert.pem, the server's own certificate and what leads from it to the authority; server-key.pem, its private key.
/// </summary>
public sealed class TlsCertificates
{
    public const string AuthorityFile = "ca-cert.pem";
    public const string CertificateFile = "server-cert.pem";
    public const string KeyFile = "server-key.pem";

    private const string ServerAuthentication = "1.3.6.1.5.5.7.3.1";

    private readonly X509Certificate2Collection _authorities;

    private TlsCertificates(SslStreamCertificateContext server, X509Certificate2Collection authorities, string? warning)
    {
        Server = server;
        _authorities = authorities;
        Warning = warning;
    }

    /// <summary>A sentence for the user when the private key is not well kept, or null.</summary>
    public string? Warning { get; }

    internal SslStreamCertificateContext Server { get; }

    /// <summary>Reads the three files and checks that clients could believe them.</summary>
    /// <exception cref="DiskException">
    /// A sentence that names the file and what is wrong: <see cref="ErrorKind.NotFound"/>, <see cref="ErrorKind.AccessDenied"/>,
    /// <see cref="ErrorKind.InvalidArgument"/>.
    /// </exception>
    public static TlsCertificates Load(string directory)
    {
        var authorities = Certificates(Path.Combine(directory, AuthorityFile));
        var path = Path.Combine(directory, CertificateFile);
        var chain = Certificates(path);
        var keyPath = Path.Combine(directory, KeyFile);
        var server = WithKey(chain[0], keyPath);
        CheckTime(path, server);
        CheckChain(path, server, chain, authorities);
        chain.RemoveAt(0);
        return new TlsCertificates(SslStreamCertificateContext.Create(server, chain, offline: true), authorities, WarningAbout(keyPath));
    }

    /// <summary>Believes what the authority has signed, for one purpose, and asks nobody over the network.</summary>
    /// <param name="purpose">Object identifier of an extended key usage (RFC 5280, 4.2.1.12).</param>
    internal X509ChainPolicy ChainPolicy(string purpose) => ChainPolicy(_authorities, purpose);

    /// <summary>Why a chain is not believed.</summary>
    internal static string Reason(X509Chain? chain) =>
        chain?.ChainStatus.FirstOrDefault(s => s.Status != X509ChainStatusFlags.NoError).StatusInformation?.Trim().TrimEnd('.') is { Length: > 0 } reason
            ? reason
            : "it does not lead to the authority";

    private static X509ChainPolicy ChainPolicy(X509Certificate2Collection authorities, string purpose)
    {
        var policy = new X509ChainPolicy
        {
            TrustMode = X509ChainTrustMode.CustomRootTrust,
            RevocationMode = X509RevocationMode.NoCheck,
            DisableCertificateDownloads = true,
        };
        policy.CustomTrustStore.AddRange(authorities);
        policy.ApplicationPolicy.Add(new Oid(purpose));
        return policy;
    }

    private static X509Certificate2Collection Certificates(string path)
    {
        var certificates = new X509Certificate2Collection();
        try
        {
            certificates.ImportFromPem(PemFile.Read(path));
        }
        catch (CryptographicException e)
        {
            throw Invalid(path, $"a certificate in it is malformed ({e.Message.TrimEnd('.')})", e);
        }

        return certificates.Count > 0 ? certificates : throw Invalid(path, "it holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)");
    }

    private static X509Certificate2 WithKey(X509Certificate2 certificate, string path)
    {
        var pem = PemFile.Read(path);
        if (!pem.Contains("PRIVATE KEY-----", StringComparison.Ordinal))
        {
            throw Invalid(path, "it holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)");
        }

        if (pem.Contains("-----BEGIN ENCRYPTED", StringComparison.Ordinal) || pem.Contains("Proc-Type: 4,ENCRYPTED", StringComparison.Ordinal))
        {
            throw Invalid(path, "the private key is encrypted, but must be readable without a password");
        }

        try
        {
            return X509Certificate2.CreateFromPem(certificate.ExportCertificatePem(), pem);
        }
        catch (Exception e) when (e is CryptographicException or ArgumentException)
        {
            throw Invalid(path, $"the private key is malformed or does not belong to {CertificateFile}", e);
        }
    }

    private static void CheckTime(string path, X509Certificate2 certificate)
    {
        var now = DateTime.Now;
        if (now > certificate.NotAfter)
        {
            throw Invalid(path, $"the certificate expired on {Date(certificate.NotAfter)}");
        }

        if (now < certificate.NotBefore)
        {
            throw Invalid(path, $"the certificate is valid only from {Date(certificate.NotBefore)}");
        }

        static string Date(DateTime time) => time.ToUniversalTime().ToString("yyyy-MM-dd HH:mm:ss 'UTC'", CultureInfo.InvariantCulture);
    }

    /// <summary>What no client with this authority would believe is better said here than in every client's log.</summary>
    private static void CheckChain(string path, X509Certificate2 certificate, X509Certificate2Collection extra, X509Certificate2Collection authorities)
    {
        using var chain = new X509Chain { ChainPolicy = ChainPolicy(authorities, ServerAuthentication) };
        chain.ChainPolicy.ExtraStore.AddRange(extra);
        if (!chain.Build(certificate))
        {
            throw Invalid(path, $"the certificate is not one for servers that {AuthorityFile} has signed ({Reason(chain)})");
        }
    }

    private static string? WarningAbout(string path)
    {
        const UnixFileMode others = UnixFileMode.GroupRead | UnixFileMode.OtherRead;
        if (OperatingSystem.IsWindows() || (File.GetUnixFileMode(path) & others) is 0)
        {
            return null;
        }

        var mode = Convert.ToString((int)File.GetUnixFileMode(path), 8).PadLeft(4, '0');
        return $"{path}: others than its owner may read the private key (its mode is {mode}, 0600 would be right).";
    }

    private static DiskException Invalid(string path, string what, Exception? cause = null) =>
        new(ErrorKind.InvalidArgument, $"{path}: {what}.", cause) { Path = path };
}
