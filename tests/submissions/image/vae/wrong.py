def reparameterize(mu, logvar, noise):
    return mu + logvar.exp() * noise


def kl_divergence(mu, logvar):
    return -0.5 * torch.mean(1 + logvar - mu**2 - logvar.exp())


def reconstruction_nll(logits, counts):
    p = torch.sigmoid(logits)
    n = digits.LEVELS
    return -(counts * torch.log(p) + (n - counts) * torch.log(1 - p)).flatten(1).sum(1)


def elbo(logits, counts, mu, logvar, beta=1.0):
    return reconstruction_nll(logits, counts) + beta * kl_divergence(mu, logvar)


class VAE(nn.Module):
    """A convolutional VAE of 8×8 digits, conditioned on the class in the encoder and in the decoder."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        C, D, K = config.channels, config.latent, digits.CLASSES
        self.config = config
        self.encoder = nn.Sequential(
            nn.Conv2d(1 + K, C, 3, padding=1), nn.SiLU(),  # (B, C, 8, 8)
            nn.Conv2d(C, 2 * C, 4, stride=2, padding=1), nn.SiLU(),  # (B, 2C, 4, 4)
            nn.Conv2d(2 * C, 4 * C, 4, stride=2, padding=1), nn.SiLU(),  # (B, 4C, 2, 2)
            nn.Flatten(), nn.Linear(16 * C, 2 * D),  # (B, 2D)
        )  # fmt: skip
        self.decoder_input = nn.Linear(D + K, 16 * C)
        self.decoder = nn.Sequential(
            nn.SiLU(), nn.ConvTranspose2d(4 * C, 2 * C, 4, stride=2, padding=1),  # (B, 2C, 4, 4)
            nn.SiLU(), nn.ConvTranspose2d(2 * C, C, 4, stride=2, padding=1),  # (B, C, 8, 8)
            nn.SiLU(), nn.Conv2d(C, 1, 3, padding=1),  # (B, 1, 8, 8)
        )  # fmt: skip

    def encode(
        self, images: Float[Tensor, "B 1 8 8"], labels: Int[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]:
        """Mean and log-variance of q(z | x, y). The class comes in as ten constant planes beside the image."""
        B, _, H, W = images.shape
        planes = F.one_hot(labels, digits.CLASSES).to(images.dtype)[:, :, None, None].expand(B, -1, H, W)  # (B, K, H, W)
        mu, logvar = self.encoder(torch.cat([2 * images - 1, planes], dim=1)).chunk(2, dim=1)  # (B, D) each
        return mu, logvar

    def decode(self, z: Float[Tensor, "B D"], labels: Int[Tensor, " B"]) -> Float[Tensor, "B 1 8 8"]:
        """Logits of ink per pixel, from a latent followed by the one-hot class (`decoder_input`, then `decoder`)."""
        onehot = torch.eye(digits.CLASSES, device=z.device, dtype=z.dtype)[labels]
        hidden = self.decoder_input(torch.hstack((onehot, z)))
        return self.decoder(hidden.view(len(z), -1, 2, 2))

    def interpolate(
        self, start: Float[Tensor, "B D"], end: Float[Tensor, "B D"], labels: Int[Tensor, " B"], steps: int
    ) -> Float[Tensor, "S B 1 8 8"]:
        """Mean images (ink in [0, 1]) at `steps` evenly spaced latents on the straight line from `start` to `end`, both included."""
        stops = []
        for i in range(steps):
            w = i / max(steps - 1, 1)
            stops.append(self.decode((1 - w) * start + w * end, labels))
        return torch.stack(stops)

    def forward(
        self, counts: Float[Tensor, "B 1 8 8"], labels: Int[Tensor, " B"], noise: Float[Tensor, "B D"]
    ) -> tuple[Float[Tensor, "B 1 8 8"], Float[Tensor, "B D"], Float[Tensor, "B D"]]:
        """Encode, sample with the given noise, decode: logits, mu, logvar."""
        mu, logvar = self.encode(counts / digits.LEVELS, labels)
        return self.decode(reparameterize(mu, logvar, noise), labels), mu, logvar
