FROM node:20-slim
WORKDIR /app
COPY package*.json ./
RUN npm ci --omit=dev
COPY src src
USER 1000:1000
CMD ["node", "src/worker.js"]
