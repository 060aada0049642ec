using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using BlockMount.Core.Errors;
using BlockMount.Nbd.Tls;
using BlockMount.TestSupport;

namespace BlockMount.Nbd.Tests;

/// <summary>Files that a server cannot use are refused with a sentence that names the file.</summary>
public sealed class TlsCertificatesTests : IDisposable
{
    private readonly TempFolder _folder = new();
    private readonly TestAuthority _authority = new();

    public void Dispose()
    {
        _folder.Dispose();
        _authority.Dispose();
    }

    [Fact]
    public void Good_files_load_without_a_warning() => Assert.Null(TlsCertificates.Load(_authority.WriteServer(_folder.Root)).Warning);

    [Theory]
    [InlineData(UnixFileMode.GroupRead, "0640")]
    [InlineData(UnixFileMode.OtherRead, "0604")]
    public void A_key_that_others_may_read_is_warned_about(UnixFileMode others, string shown)
    {
        _authority.WriteServer(_folder.Root);
        File.SetUnixFileMode(_folder["server-key.pem"], UnixFileMode.UserRead | UnixFileMode.UserWrite | others);
        var warning = TlsCertificates.Load(_folder.Root).Warning;
        Assert.Contains(_folder["server-key.pem"], warning, StringComparison.Ordinal);
        Assert.Contains(shown, warning, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("ca-cert.pem")]
    [InlineData("server-cert.pem")]
    [InlineData("server-key.pem")]
    public void A_file_that_is_missing_empty_senseless_or_endless_is_named(string file)
    {
        _authority.WriteServer(_folder.Root);
        File.Delete(_folder[file]);
        Refused(file, ErrorKind.NotFound, "there is no such file");
        File.WriteAllText(_folder[file], "");
        Refused(file, ErrorKind.InvalidArgument, "in PEM form");
        File.WriteAllText(_folder[file], "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
        Refused(file, ErrorKind.InvalidArgument, "malformed");
        File.Delete(_folder[file]);
        File.CreateSymbolicLink(_folder[file], "/dev/zero");
        Refused(file, ErrorKind.InvalidArgument, "longer than 1 MiB");
    }

    [Fact]
    public void A_key_of_another_certificate_is_refused()
    {
        _authority.WriteServer(_folder.Root);
        using var other = ECDsa.Create();
        File.WriteAllText(_folder["server-key.pem"], other.ExportPkcs8PrivateKeyPem());
        Refused("server-key.pem", ErrorKind.InvalidArgument, "does not belong to server-cert.pem");
    }

    [Fact]
    public void An_encrypted_key_is_refused()
    {
        _authority.WriteServer(_folder.Root);
        using var key = ECDsa.Create();
        File.WriteAllText(
            _folder["server-key.pem"], key.ExportEncryptedPkcs8PrivateKeyPem("x", new PbeParameters(PbeEncryptionAlgorithm.Aes128Cbc, HashAlgorithmName.SHA256, 1000)));
        Refused("server-key.pem", ErrorKind.InvalidArgument, "is encrypted");
    }

    [Theory]
    [InlineData(-3, -2, "expired on")]
    [InlineData(2, 3, "valid only from")]
    public void A_certificate_out_of_its_time_is_refused(int fromDay, int toDay, string text)
    {
        using var certificate = _authority.Issue(fromDay: fromDay, toDay: toDay);
        _authority.WriteServer(_folder.Root, certificate);
        Refused("server-cert.pem", ErrorKind.InvalidArgument, text);
    }

    [Fact]
    public void A_certificate_of_another_authority_or_for_clients_only_is_refused()
    {
        using var other = new TestAuthority("another authority");
        using var foreign = other.Issue();
        _authority.WriteServer(_folder.Root, foreign);
        Refused("server-cert.pem", ErrorKind.InvalidArgument, "that ca-cert.pem has signed");
        using var client = _authority.Issue(TestAuthority.ForClients);
        _authority.WriteServer(_folder.Root, client);
        Refused("server-cert.pem", ErrorKind.InvalidArgument, "not one for servers");
    }

    [Fact]
    public void An_rsa_key_in_the_older_pem_form_is_taken()
    {
        using var key = RSA.Create(2048);
        var request = new CertificateRequest("CN=localhost", key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        var generator = X509SignatureGenerator.CreateForECDsa(_authority.Certificate.GetECDsaPrivateKey()!);
        using var issued = request.Create(
            _authority.Certificate.SubjectName, generator, DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1), [1, 2, 3]);
        _authority.WriteServer(_folder.Root);
        File.WriteAllText(_folder["server-cert.pem"], issued.ExportCertificatePem());
        File.WriteAllText(_folder["server-key.pem"], key.ExportRSAPrivateKeyPem());
        Assert.Null(TlsCertificates.Load(_folder.Root).Warning);
    }

    private void Refused(string file, ErrorKind kind, string text)
    {
        var error = Assert.Throws<DiskException>(() => TlsCertificates.Load(_folder.Root));
        Assert.Equal(kind, error.Kind);
        Assert.StartsWith(_folder[file] + ": ", error.Message, StringComparison.Ordinal);
        Assert.Contains(text, error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', error.Message);
    }
}
